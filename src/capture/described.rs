//! The interfaces on which packets were captured, as far as a source describes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The maximum length of a name or a description, in bytes, so that memory is bounded. Longer ones are ignored.
const MAX_TEXT: usize = 256;

/// An interface, as the source of its packets describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct InterfaceDescription {
    /// Its name, such as `eth0`.
    pub name: Option<String>,
    /// What it is, for people.
    pub description: Option<String>,
    /// The resolution of its timestamps, in the form of pcapng's `if_tsresol`; `None` if it is that of each timestamp.
    pub resolution: Option<u8>,
}

impl InterfaceDescription {
    /// Returns the value of an option, unless it is too long. What is not UTF-8 in it, as the format requires, is replaced.
    pub(crate) fn text(value: &[u8]) -> Option<String> {
        (value.len() <= MAX_TEXT).then(|| String::from_utf8_lossy(value).into_owned())
    }
}

/// The interfaces of a source, by the numbers that its packets have ([`Packet::interface`](crate::Packet::interface)). It grows as
/// the source is read. Clones share the same table.
#[derive(Clone, Debug, Default)]
pub struct InterfaceTable(Arc<Mutex<Numbers>>);

#[derive(Debug, Default)]
struct Numbers {
    /// The interface with number 1 is the first. Number 0 is for packets of which no interface is known.
    interfaces: Vec<InterfaceDescription>,
    by_description: HashMap<InterfaceDescription, u16, foldhash::fast::RandomState>,
}

impl InterfaceTable {
    /// Returns the number of an interface with this description: the same for the same description, 0 if there are too many.
    pub fn number(&self, description: &InterfaceDescription) -> u16 {
        let mut numbers = self.lock();
        if let Some(number) = numbers.by_description.get(description) {
            return *number;
        }
        let Ok(number) = u16::try_from(numbers.interfaces.len() + 1) else { return 0 };
        numbers.interfaces.push(description.clone());
        numbers.by_description.insert(description.clone(), number);
        number
    }

    /// Returns the description of an interface by its number; an empty one if none is known.
    pub fn description(&self, number: u16) -> InterfaceDescription {
        let index = usize::from(number).checked_sub(1);
        index.and_then(|index| self.lock().interfaces.get(index).cloned()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> InterfaceDescription {
        InterfaceDescription { name: Some(name.to_owned()), ..InterfaceDescription::default() }
    }

    #[test]
    fn an_interface_has_one_number() {
        let table = InterfaceTable::default();
        assert_eq!(["eth0", "lo", "eth0"].map(|name| table.clone().number(&named(name))), [1, 2, 1]);
        assert_eq!(table.description(2), named("lo"));
        assert_eq!([0, 3].map(|number| table.description(number)), [(); 2].map(|()| InterfaceDescription::default()));
    }

    #[test]
    fn interfaces_beyond_the_limit_are_unknown_ones() {
        let table = InterfaceTable::default();
        let last = (0..70_000).map(|number| table.number(&named(&number.to_string()))).max();
        assert_eq!((last, table.number(&named("69999")), table.number(&named("0"))), (Some(u16::MAX), 0, 1));
        assert_eq!(InterfaceDescription::text(&[b'x'; MAX_TEXT + 1]), None);
    }
}
