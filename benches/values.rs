//! The speed of converting values to JSON, by type and format, and the number of allocations.
//!
//! `cargo bench --bench values`. Compare ratios within one run: machines differ, and vary over time.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use pgdissect::value::{Format, Settings, TypedValue};

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

/// The values: type, text format, binary format.
const VALUES: &[(u32, &str, &[u8])] = &[
    (16, "t", b"\x01"),
    (23, "1234567", b"\0\x12\xd6\x87"),
    (25, "a text of some forty bytes, like many ones", b"a text of some forty bytes, like many ones"),
    (701, "3.141592653589793", b"\x40\x09\x21\xfb\x54\x44\x2d\x18"),
    (1184, "2024-07-02 03:04:05.678+00", b"\x00\x02\xbe\xe9\xb2\x3b\x8a\x70"),
    (1700, "12345.67", b"\0\x03\0\x01\0\0\0\x02\0\x01\x09\x29\x1a\x2c"),
    (2950, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", b"\xa0\xee\xbc\x99\x9c\x0b\x4e\xf8\xbb\x6d\x6b\xb9\xbd\x38\x0a\x11"),
    (3802, r#"{"a": [1, 2], "b": "x"}"#, b"\x01{\"a\": [1, 2], \"b\": \"x\"}"),
    (1007, "{1,2}", b"\0\0\0\x01\0\0\0\0\0\0\0\x17\0\0\0\x02\0\0\0\x01\0\0\0\x04\0\0\0\x01\0\0\0\x04\0\0\0\x02"),
];

#[divan::bench(args = VALUES.iter().map(|value| value.0))]
fn text(bencher: divan::Bencher<'_, '_>, oid: u32) {
    bench(bencher, oid, Format::Text);
}

#[divan::bench(args = VALUES.iter().map(|value| value.0))]
fn binary(bencher: divan::Bencher<'_, '_>, oid: u32) {
    bench(bencher, oid, Format::Binary);
}

fn bench(bencher: divan::Bencher<'_, '_>, type_oid: u32, format: Format) {
    let (_, text, binary) = VALUES.iter().find(|value| value.0 == type_oid).unwrap();
    let bytes = if format == Format::Text { text.as_bytes() } else { binary };
    let settings = Settings::default();
    let mut out = Vec::with_capacity(1024);
    bencher.bench_local(|| {
        out.clear();
        serde_json::to_writer(
            &mut out,
            &TypedValue { type_oid, format, bytes, settings: &settings, encoding: settings.encoding() },
        )
        .unwrap();
        black_box(&out);
    });
}
