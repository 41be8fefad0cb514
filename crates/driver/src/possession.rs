//! Who has a volume, and what is refused to everybody else: the same in every pool, however it keeps its records.

use model::Uid;

use crate::DriverError;

/// What the record of a volume says of who has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Possession<'a> {
    /// The only host that changes it; empty where just one host has the pool.
    pub host: &'a str,
    /// How often the cloud had given it to another host when this one got it.
    pub moves: u64,
    /// Of the last attachment.
    pub epoch: u64,
    /// The instance that may open it.
    pub holder: Option<&'a Uid>,
}

impl Possession<'_> {
    /// Refuses a change by another host than the one that has it.
    pub fn require_host(&self, here: &str) -> Result<(), DriverError> {
        if self.host == here {
            return Ok(());
        }
        Err(DriverError::WrongState(format!("the volume is host {:?}'s, not {here:?}'s", self.host)))
    }

    /// Refuses what cannot be done while an instance may open it.
    pub fn require_unheld(&self, what: &str) -> Result<(), DriverError> {
        match self.holder {
            Some(holder) => Err(DriverError::WrongState(format!(
                "the volume cannot be {what} while {holder} may open it; detach it first"
            ))),
            None => Ok(()),
        }
    }

    /// Whether `holder` has it open under this very epoch already; refuses a second holder, and epochs that are over.
    pub fn is_open_to(&self, holder: &Uid, epoch: u64) -> Result<bool, DriverError> {
        let again = self.holder == Some(holder) && epoch == self.epoch;
        if again {
            return Ok(true);
        }
        if epoch <= self.epoch {
            return Err(DriverError::WrongState(format!(
                "epoch {epoch} of the volume is over: it was opened under epoch {} since",
                self.epoch
            )));
        }
        if self.holder.is_some_and(|other| other != holder) {
            self.require_unheld("attached")?;
        }
        Ok(false)
    }

    /// Refuses a host to which the cloud gave it `moves` times, when it went further since.
    pub fn require_latest(&self, here: &str, moves: u64) -> Result<(), DriverError> {
        if moves > self.moves || (moves == self.moves && self.host == here) {
            return Ok(());
        }
        Err(DriverError::WrongState(format!(
            "host {:?} has the volume since: it went from host to host {} times, and {moves} is over",
            self.host, self.moves
        )))
    }

    /// Refuses to take it from a host on which an instance holds it, unless that is one of `lost`.
    pub fn require_let_go(&self, lost: &[String]) -> Result<(), DriverError> {
        match self.holder.filter(|_| !lost.iter().any(|host| host == self.host)) {
            Some(holder) => Err(DriverError::WrongState(format!(
                "instance {holder} on host {:?} may have the volume open; it has to let go of it first",
                self.host
            ))),
            None => Ok(()),
        }
    }
}
