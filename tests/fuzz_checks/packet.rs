//! A frame of any link type: the decoded payload lies inside it, and a truncated capture of it decodes to the same segment or
//! none.

use pgdissect::internals::packet;
use pgdissect::internals::packet::{NotTcp, Segment};
use pgdissect::{LinkType, Packet, Timestamp};

/// The link types, and some unknown ones.
const LINKS: [u16; 10] = [0, 1, 101, 108, 113, 228, 229, 276, 2, 65_535];

/// The input is one byte for the link type, one for the truncation, then the frame.
pub(crate) fn check(data: &[u8]) {
    let [link, cut, frame @ ..] = data else { return };
    let link = LinkType(LINKS[usize::from(*link) % LINKS.len()]);
    let orig_len = u32::try_from(frame.len()).unwrap();
    let read = |len: usize| {
        let data = &frame[..len];
        packet::decode(&Packet { ts: Timestamp::default(), link, data, orig_len, interface: 0 })
    };

    let whole = read(frame.len());
    if !link.is_known() {
        assert_eq!(whole.err(), Some(NotTcp::UnknownLink));
        return;
    }
    if let Ok(segment) = &whole {
        let (from, payload) = (frame.as_ptr_range(), segment.payload.as_ptr_range());
        assert!(from.start <= payload.start && payload.end <= from.end, "the payload lies in the frame");
        // IP length fields have 16 bits; that of IPv6 does not count the fixed header.
        assert!(segment.payload.len() as u64 + u64::from(segment.snapped) <= 65_535 + 40);
    }
    let len = frame.len() * usize::from(*cut) / 256;
    let Ok(cut) = read(len) else { return };
    let Ok(whole) = whole else { panic!("a part of the frame gives {cut:?}, and the whole gives {whole:?}") };
    assert_eq!(header(&cut), header(&whole), "the header is the same");
    assert!(whole.payload.starts_with(cut.payload), "what is there of the payload is its beginning");
    let wire_len = |segment: &Segment<'_>| segment.payload.len() as u64 + u64::from(segment.snapped);
    assert_eq!(wire_len(&cut), wire_len(&whole), "what is cut off is counted");
}

fn header(segment: &Segment<'_>) -> impl PartialEq + std::fmt::Debug {
    let Segment { source, destination, seq, ack, syn, fin, rst, .. } = *segment;
    (source, destination, seq, ack, syn, fin, rst)
}
