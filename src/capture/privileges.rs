//! Root given up, once what needs it is done: what is opened before, and to whom it belongs.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::fs::fchown;
use std::path::Path;

use nix::unistd::{Gid, Uid, User, geteuid, getuid, initgroups, setgid, setgroups, setuid};

use super::Error;

/// A user that this process can become.
#[derive(Clone, Debug)]
pub(crate) struct Account(User);

impl Account {
    /// Finds a user by name.
    ///
    /// # Errors
    ///
    /// [`Error::Live`] where there is no such user, and where this process is not root.
    pub(crate) fn named(user: &str) -> Result<Self, Error> {
        let account = User::from_name(user)
            .map_err(|error| failed(user, error.desc()))?
            .ok_or_else(|| failed(user, "there is no such user"))?;
        if geteuid().is_root() { Ok(Self(account)) } else { Err(failed(user, "only root can change its user")) }
    }

    /// Creates a file and gives it to this user, or empties one that is there and leaves it to its owner.
    ///
    /// # Errors
    ///
    /// Where the system refuses.
    pub(crate) fn create(&self, path: &Path) -> io::Result<File> {
        match File::create_new(path) {
            Ok(file) => {
                // By the descriptor: the name may be another file's by now. What refuses is a file system that knows no
                // owners; the file is open, and can be written all the same.
                let _ = fchown(&file, Some(self.0.uid.as_raw()), Some(self.0.gid.as_raw()));
                Ok(file)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => File::create(path),
            Err(error) => Err(error),
        }
    }

    /// Becomes this user for good, with its groups and no capabilities, in every thread of the process.
    ///
    /// # Errors
    ///
    /// [`Error::Live`] where the system refuses. The process must not go on then: it may be left with a part of root's rights.
    pub(crate) fn drop_root(&self) -> Result<(), Error> {
        let User { name, uid, gid, .. } = &self.0;
        let failed = |why: &str| failed(name, why);
        let name = CString::new(name.as_str()).map_err(|_| failed("there is no such user"))?;

        // Groups first: after setuid there is no right to change them.
        setgroups(&[]).map_err(|error| failed(error.desc()))?;
        initgroups(&name, *gid).map_err(|error| failed(error.desc()))?;
        setgid(*gid).map_err(|error| failed(error.desc()))?;
        setuid(*uid).map_err(|error| failed(error.desc()))?;

        if uid.is_root() {
            return Ok(());
        }
        // setuid changes the real, the effective and the saved ID of root's processes; one that was left would show here.
        if getuid() != *uid || geteuid() != *uid || setuid(Uid::from_raw(0)).is_ok() {
            return Err(failed("root's rights could be regained"));
        }
        if *gid != Gid::from_raw(0) && setgid(Gid::from_raw(0)).is_ok() {
            return Err(failed("root's group could be regained"));
        }
        Ok(())
    }
}

fn failed(user: &str, why: &str) -> Error {
    Error::Live(format!("cannot become user {user}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // That root is really given up can only be tried in a process of its own.
    #[test]
    fn an_unknown_user_is_an_error() {
        let error = Account::named("no-such-user-here").unwrap_err();
        assert_eq!(error.to_string(), "cannot become user no-such-user-here: there is no such user");
        assert!(Account::named("").is_err());
        assert!(Account::named("a\0b").is_err());
    }
}
