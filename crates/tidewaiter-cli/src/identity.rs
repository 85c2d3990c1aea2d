//! The user and groups that children run as, looked up by name or number.

use tidewaiter::process::Command;

use crate::failure::Failure;

/// A user with its groups.
pub(crate) struct Identity {
    user: u32,
    group: u32,
    groups: Vec<u32>,
    /// Variables that name the user, if the system knows it.
    env: Vec<(&'static str, String)>,
}

impl Identity {
    /// Makes a child run as this user.
    pub(crate) fn assume(&self, command: Command) -> Command {
        let command = command.user(self.user, self.group, &self.groups[..]);
        let set = |command: Command, (name, value): &(&str, String)| command.env(name, value);
        self.env.iter().fold(command, set)
    }

    #[cfg(not(unix))]
    pub(crate) fn look_up(_: &str, _: Option<&str>) -> Result<Identity, Failure> {
        Err(Failure::usage(
            "--user: this system cannot run COMMAND as another user",
        ))
    }

    /// Looks up a user, and its group: the user's own one if none is named.
    #[cfg(unix)]
    pub(crate) fn look_up(user: &str, group: Option<&str>) -> Result<Identity, Failure> {
        let known = unix::user(user)?;
        let number = known.as_ref().map(|known| known.uid.as_raw());
        let number = number.or_else(|| user.parse().ok()).ok_or_else(|| {
            Failure::Usage(format!("--user {user:?}: the system knows no such user"))
        })?;
        let own_group = known.as_ref().map(|known| known.gid.as_raw());
        let group = match group {
            Some(group) => unix::group(group)?,
            None => own_group.ok_or_else(|| {
                Failure::Usage(format!(
                    "--user {user:?}: the system does not know its group, so --group is needed"
                ))
            })?,
        };
        Ok(Identity {
            user: number,
            group,
            groups: unix::groups(known.as_ref(), group)?,
            env: known.as_ref().map(unix::variables).unwrap_or_default(),
        })
    }
}

#[cfg(unix)]
mod unix {
    use nix::unistd::{Gid, Group, Uid, User};

    use crate::failure::Failure;

    /// Looks up a user. Names go first, because a name may consist of digits.
    pub(super) fn user(text: &str) -> Result<Option<User>, Failure> {
        let failed = |error| Failure::Failed(format!("--user {text:?}: {error}"));
        let found = User::from_name(text).map_err(failed)?;
        match (found, text.parse()) {
            (None, Ok(number)) => User::from_uid(Uid::from_raw(number)).map_err(failed),
            (found, _) => Ok(found),
        }
    }

    /// Looks up the number of a group.
    pub(super) fn group(text: &str) -> Result<u32, Failure> {
        let found = Group::from_name(text)
            .map_err(|error| Failure::Failed(format!("--group {text:?}: {error}")))?;
        let number = found.map(|group| group.gid.as_raw());
        number.or_else(|| text.parse().ok()).ok_or_else(|| {
            Failure::Usage(format!("--group {text:?}: the system knows no such group"))
        })
    }

    /// Returns the supplementary groups of a user.
    pub(super) fn groups(user: Option<&User>, group: u32) -> Result<Vec<u32>, Failure> {
        let Some(user) = user else {
            return Ok(vec![group]);
        };
        let numbers = group_list(user, Gid::from_raw(group));
        let numbers = numbers
            .map_err(|error| Failure::Failed(format!("the groups of {:?}: {error}", user.name)))?;
        Ok(numbers.into_iter().map(Gid::as_raw).collect())
    }

    #[cfg(not(target_vendor = "apple"))]
    fn group_list(user: &User, group: Gid) -> nix::Result<Vec<Gid>> {
        let name = std::ffi::CString::new(user.name.as_str()).map_err(|_| nix::Error::EINVAL)?;
        nix::unistd::getgrouplist(&name, group)
    }

    /// There, the list has another type, and the groups are the directory service's affair.
    #[cfg(target_vendor = "apple")]
    fn group_list(_: &User, group: Gid) -> nix::Result<Vec<Gid>> {
        Ok(vec![group])
    }

    /// The variables that a login would set.
    pub(super) fn variables(user: &User) -> Vec<(&'static str, String)> {
        vec![
            ("HOME", user.dir.to_string_lossy().into_owned()),
            ("USER", user.name.clone()),
            ("LOGNAME", user.name.clone()),
        ]
    }
}
