//! The network interfaces of this machine, for `-D` and `-i`.

use std::fmt;
use std::net::IpAddr;

use super::Error;
use super::filter;

/// Linux's pseudo-interface for all interfaces. It is opened by name, and not listed by libpcap everywhere.
pub(super) const ANY: &str = "any";

/// A network interface on which packets can be captured.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its number in the list, from 1, which can be used in place of its name.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Its description, if the system has one.
    pub description: Option<String>,
    /// Its state flags: `Up`, `Running`, `Loopback`, `Wireless`, `Connected`, `Disconnected`.
    pub state: Vec<&'static str>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Formats a line as in tcpdump's `-D`, followed by the addresses: `1.eth0 [Up, Running, Connected] 10.0.0.5`.
impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.number, self.name)?;
        if let Some(description) = &self.description {
            write!(f, " ({description})")?;
        }
        let state = if self.state.is_empty() { "none".to_owned() } else { self.state.join(", ") };
        write!(f, " [{state}]")?;
        for (index, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if index == 0 { " " } else { ", " })?;
        }
        Ok(())
    }
}

/// Returns the interfaces on which packets can be captured, the most likely first, as in tcpdump's `-D`.
///
/// # Errors
///
/// [`Error::Live`] if the system cannot list its interfaces.
pub fn list() -> Result<Vec<Interface>, Error> {
    let devices = pcap::Device::list()
        .map_err(|error| Error::Live(format!("the interfaces cannot be listed: {}", filter::reason(&error))))?;
    let interfaces = devices.into_iter().zip(1..).map(|(device, number)| Interface {
        number,
        state: state(&device.flags),
        name: device.name,
        description: device.desc,
        addresses: device.addresses.into_iter().map(|address| address.addr).collect(),
    });
    Ok(interfaces.collect())
}

fn state(flags: &pcap::DeviceFlags) -> Vec<&'static str> {
    use pcap::ConnectionStatus::{Connected, Disconnected, NotApplicable, Unknown};
    let connection = match flags.connection_status {
        Connected => Some("Connected"),
        Disconnected => Some("Disconnected"),
        Unknown | NotApplicable => None,
    };
    let flags = [
        flags.is_up().then_some("Up"),
        flags.is_running().then_some("Running"),
        flags.is_loopback().then_some("Loopback"),
        flags.is_wireless().then_some("Wireless"),
        connection,
    ];
    flags.into_iter().flatten().collect()
}

/// Returns the name of the interface given to `-i`, which may be a number of the `-D` list, as in tcpdump.
pub(super) fn by_name_or_number(wanted: &str) -> String {
    let number = wanted.parse::<usize>().ok();
    let interface = number.and_then(|number| list().ok()?.into_iter().find(|interface| interface.number == number));
    interface.map_or_else(|| wanted.to_owned(), |interface| interface.name)
}

/// Returns whether there is an interface with this name, as far as can be determined without opening it.
pub(super) fn may_exist(name: &str) -> bool {
    name == ANY || list().is_ok_and(|interfaces| interfaces.iter().any(|interface| interface.name == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_written_as_tcpdump_does() {
        let eth0 = Interface {
            number: 1,
            name: "eth0".to_owned(),
            description: None,
            state: vec!["Up", "Running"],
            addresses: vec!["10.0.0.5".parse().unwrap(), "fe80::1".parse().unwrap()],
        };
        assert_eq!(eth0.to_string(), "1.eth0 [Up, Running] 10.0.0.5, fe80::1");
        let nflog = Interface {
            number: 7,
            name: "nflog".to_owned(),
            description: Some("Linux netfilter log".to_owned()),
            state: Vec::new(),
            addresses: Vec::new(),
        };
        assert_eq!(nflog.to_string(), "7.nflog (Linux netfilter log) [none]");
    }

    #[test]
    fn a_number_stands_for_a_name() {
        for interface in list().unwrap() {
            assert_eq!(by_name_or_number(&interface.number.to_string()), interface.name);
            assert_eq!(by_name_or_number(&interface.name), interface.name);
            assert!(may_exist(&interface.name));
        }
        assert_eq!(by_name_or_number("0"), "0");
        assert!(!may_exist("nosuch0") && may_exist(ANY));
    }
}
