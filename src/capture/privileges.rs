//! Root given up, once what needs it is done.

use std::ffi::CString;

use nix::unistd::{Gid, Uid, User, geteuid, getuid, initgroups, setgid, setgroups, setuid};

use super::Error;

/// Becomes `user` for good, with that user's groups and no capabilities, in every thread of the process.
///
/// # Errors
///
/// [`Error::Live`] where there is no such user, where this process is not root, and where the system refuses. The process
/// must not go on then: it may be left with a part of root's rights.
pub fn drop_root(user: &str) -> Result<(), Error> {
    let failed = |why: &str| Error::Live(format!("cannot become user {user}: {why}"));
    let account =
        User::from_name(user).map_err(|error| failed(error.desc()))?.ok_or_else(|| failed("there is no such user"))?;
    if !geteuid().is_root() {
        return Err(failed("only root can change its user"));
    }
    let name = CString::new(user).map_err(|_| failed("there is no such user"))?;

    // Groups first: after setuid there is no right to change them.
    setgroups(&[]).map_err(|error| failed(error.desc()))?;
    initgroups(&name, account.gid).map_err(|error| failed(error.desc()))?;
    setgid(account.gid).map_err(|error| failed(error.desc()))?;
    setuid(account.uid).map_err(|error| failed(error.desc()))?;

    if account.uid.is_root() {
        return Ok(());
    }
    // setuid changes the real, the effective and the saved ID of root's processes; one that was left would show here.
    if getuid() != account.uid || geteuid() != account.uid || setuid(Uid::from_raw(0)).is_ok() {
        return Err(failed("root's rights could be regained"));
    }
    if account.gid != Gid::from_raw(0) && setgid(Gid::from_raw(0)).is_ok() {
        return Err(failed("root's group could be regained"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // That root is really given up can only be tried in a process of its own.
    #[test]
    fn an_unknown_user_is_an_error() {
        let error = drop_root("no-such-user-here").unwrap_err();
        assert_eq!(error.to_string(), "cannot become user no-such-user-here: there is no such user");
        assert!(drop_root("").is_err());
        assert!(drop_root("a\0b").is_err());
    }
}
