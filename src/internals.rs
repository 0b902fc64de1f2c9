//! The layers between a packet and its records, for the tests, benchmarks and fuzz targets of this crate, which hold each of them
//! to its promise by itself. This is no part of the public API: any version may change it.

macro_rules! layers {
    ($($layer:ident: $($path:ident)::+;)*) => {
        $(pub mod $layer {
            pub use $($path)::+::*;
        })*
    };
}

layers! {
    batch: crate::output::batch;
    copy: crate::value::copy;
    direction: crate::direction;
    hex: crate::hex;
    json: crate::output::json;
    packet: crate::packet;
    pg: crate::pg;
    reader: crate::reader;
    session: crate::session;
    sql: crate::sql;
    stats: crate::output::stats;
    tcp: crate::tcp;
    text: crate::output::text;
    tls: crate::tls;
}

#[cfg(feature = "live")]
layers! {
    savefile: crate::capture::savefile;
}
