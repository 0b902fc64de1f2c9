//! Dropping root privileges, and creation of files for the unprivileged user.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{fchown, lchown};
use std::path::Path;

use nix::unistd::{Gid, Uid, User, geteuid, getuid, initgroups, setgid, setgroups, setuid};

use super::Error;

/// A user account that this process can switch to.
#[derive(Clone, Debug)]
pub(crate) struct Account(User);

impl Account {
    /// Looks up a user by name.
    ///
    /// # Errors
    ///
    /// [`Error::Live`] if there is no such user, or if this process is not root.
    pub(crate) fn named(user: &str) -> Result<Self, Error> {
        let account = User::from_name(user)
            .map_err(|error| failed(user, error.desc()))?
            .ok_or_else(|| failed(user, "there is no such user"))?;
        if geteuid().is_root() { Ok(Self(account)) } else { Err(failed(user, "only root can change its user")) }
    }

    /// Opens a file with options that create it, so that it belongs to this user; an existing one keeps its owner, and is
    /// truncated.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    pub(crate) fn create(&self, path: &Path, options: &OpenOptions) -> io::Result<File> {
        match options.clone().create_new(true).open(path) {
            Ok(file) => {
                // By the descriptor, because the name may refer to another file by now. Only file systems without ownership
                // reject this; the file is open and can be written anyway.
                let _ = fchown(&file, Some(self.0.uid.as_raw()), Some(self.0.gid.as_raw()));
                Ok(file)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path),
            Err(error) => Err(error),
        }
    }

    /// Creates a folder that belongs to this user.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    #[cfg_attr(not(feature = "parquet"), allow(dead_code, reason = "only tables are in a folder"))]
    pub(crate) fn create_folder(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)?;
        // As for files, this may be rejected. The last part of the name is not followed, for it may be another's by now.
        let _ = lchown(path, Some(self.0.uid.as_raw()), Some(self.0.gid.as_raw()));
        Ok(())
    }

    /// Switches to this user permanently, with its groups and no capabilities, in every thread of the process.
    ///
    /// # Errors
    ///
    /// [`Error::Live`] if the system rejects it. The process must not continue then: it may have retained some of root's
    /// privileges.
    pub(crate) fn drop_root(&self) -> Result<(), Error> {
        let User { name, uid, gid, .. } = &self.0;
        let failed = |why: &str| failed(name, why);
        let name = CString::new(name.as_str()).map_err(|_| failed("there is no such user"))?;

        // Groups first: after setuid, there is no permission to change them.
        setgroups(&[]).map_err(|error| failed(error.desc()))?;
        initgroups(&name, *gid).map_err(|error| failed(error.desc()))?;
        setgid(*gid).map_err(|error| failed(error.desc()))?;
        setuid(*uid).map_err(|error| failed(error.desc()))?;

        if uid.is_root() {
            return Ok(());
        }
        // For root, setuid changes the real, effective and saved user ID. If one were left, this would detect it.
        if getuid() != *uid || geteuid() != *uid || setuid(Uid::from_raw(0)).is_ok() {
            return Err(failed("root privileges could be regained"));
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
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_created_folder_is_the_users() {
        // Only root can create one.
        let Ok(account) = Account::named("nobody") else { return };
        let folder = std::env::temp_dir().join(format!("pgdissect-folder-{}", std::process::id()));
        account.create_folder(&folder).unwrap();
        let again = account.create_folder(&folder).unwrap_err();
        let owner = std::fs::metadata(&folder).unwrap().uid();
        std::fs::remove_dir(&folder).unwrap();
        assert_eq!((owner, again.kind()), (account.0.uid.as_raw(), io::ErrorKind::AlreadyExists));
    }

    // Dropping root privileges can only be tested in a separate process.
    #[test]
    fn an_unknown_user_is_an_error() {
        let error = Account::named("no-such-user-here").unwrap_err();
        assert_eq!(error.to_string(), "cannot become user no-such-user-here: there is no such user");
        assert!(Account::named("").is_err());
        assert!(Account::named("a\0b").is_err());
    }
}
