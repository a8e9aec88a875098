//! The request decoder: any bytes are requests or an error, never a panic, and it does not matter in
//! which pieces they arrive. Replies are parsed with the client's side of the same module.
//!
//! The module is compiled straight from the server's sources: it imports nothing from the server, and
//! the server as a whole would bring an allocator that the sanitizer cannot live with.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../server/src/resp/mod.rs"]
#[allow(dead_code, reason = "the target uses the decoding half of the module")]
mod resp;

use resp::decoder::{Decoder, Limits};

const LIMITS: Limits = Limits { bulk_max: 1 << 20, is_authenticated: true };

/// The arguments of every request, and the text of the error that ended the connection.
type Heard = (Vec<Vec<Vec<u8>>>, Option<String>);

fuzz_target!(|data: &[u8]| {
    let _ = resp::frame::parse(data);
    let whole = hear(data, data.len().max(1), usize::MAX);
    let step = data.first().map_or(1, |byte| usize::from(*byte % 13) + 1);
    assert_eq!(hear(data, step, 3), whole, "pieces of {step} bytes were understood differently");
    round_trip(&whole.0);
});

/// Feeds `data` in pieces of `step` bytes, at most `batch` requests at a time, as a connection does.
fn hear(data: &[u8], step: usize, batch: usize) -> Heard {
    let (mut decoder, mut input, mut requests) = (Decoder::default(), Vec::new(), Vec::new());
    for piece in data.chunks(step) {
        input.extend_from_slice(piece);
        loop {
            let result = decoder.decode(&input, &LIMITS, batch);
            let count = decoder.len();
            for index in 0..count {
                let request = decoder.request(index, &input).expect("a complete request is there");
                let words = request.ranges.iter().map(|(start, length)| {
                    let start = *start as usize;
                    request.bytes[start..start + *length as usize].to_vec()
                });
                requests.push(words.collect());
            }
            if let Err(error) = result {
                return (requests, Some(error.0));
            }
            let done = decoder.finish_batch();
            assert!(done <= input.len(), "more bytes are done with than there were");
            input.drain(..done);
            if count < batch {
                break;
            }
        }
    }
    (requests, None)
}

/// What was understood, written as a client writes it, is understood again.
fn round_trip(requests: &[Vec<Vec<u8>>]) {
    let mut bytes = Vec::new();
    for request in requests {
        let args: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
        resp::frame::write_request(&mut bytes, &args);
    }
    let (again, error) = hear(&bytes, bytes.len().max(1), usize::MAX);
    let asked: Vec<_> = requests.iter().filter(|request| !request.is_empty()).cloned().collect();
    assert_eq!((again, error), (asked, None), "requests changed in their own encoding");
}
