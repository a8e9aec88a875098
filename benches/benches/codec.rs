//! Micro-benchmarks of the bytes that every write passes through: effects, log frames, rows, dumps.
//!
//! `cargo bench -p lux-benches --bench codec`. They compare one build with the next; what a client
//! sees is the comparison harness's business.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lux_engine::codec::Reader;
use lux_engine::dump;
use lux_engine::ids::{DbId, ExpireAt, Lsn};
use lux_engine::tier::schema::{self, Row, RowBody};
use lux_engine::wal::effect::{self, Change, Effect, Operation, Replaced, StringBody};
use lux_engine::wal::frame::{self, FrameKind};

const KEY: &[u8] = b"key:000000000042";
/// A value of the throughput workload, and one that is worth compressing.
const SIZES: [usize; 2] = [64, 4096];

fn value(bytes: usize) -> Vec<u8> {
    let mut value = vec![0; bytes];
    lux_benches::values::fill_half_compressible(&mut value, 42, 0);
    value
}

fn effects(c: &mut Criterion) {
    for bytes in SIZES {
        let value = value(bytes);
        let put = Change::Put {
            body: StringBody::Bytes(&value),
            deadline: Some(ExpireAt(1_800_000_000_000)),
            old: Replaced::default(),
            is_raw: false,
        };
        let effect = Effect { operation: Operation::Set, db: DbId(1), key: KEY, change: put };
        let mut encoded = Vec::new();
        effect::put_effect(&mut encoded, &effect);
        let mut group = c.benchmark_group(format!("effect/{bytes}"));
        group.throughput(Throughput::Elements(1));
        let mut out = Vec::with_capacity(bytes * 2);
        group.bench_function("put", |b| {
            b.iter(|| {
                out.clear();
                effect::put_effect(&mut out, black_box(&effect))
            });
        });
        group.bench_function("read", |b| {
            b.iter(|| effect::read_effect(&mut Reader::new(black_box(&encoded))).is_ok());
        });
        group.finish();
    }
}

fn frames(c: &mut Criterion) {
    for bytes in SIZES {
        let body = value(bytes);
        let encoded = frame::encode(FrameKind::Commit, Lsn(2), Lsn(1), &body, 7);
        let mut group = c.benchmark_group(format!("frame/{bytes}"));
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function("encode", |b| {
            b.iter(|| frame::encode(FrameKind::Commit, Lsn(2), Lsn(1), black_box(&body), 7));
        });
        let mut scratch = Vec::new();
        group.bench_function("decode", |b| {
            b.iter(|| {
                let frame = frame::decode(black_box(&encoded), 7).expect("it was just encoded");
                frame.body(&mut scratch).map(<[u8]>::len)
            });
        });
        group.finish();
    }
}

fn rows(c: &mut Criterion) {
    let value = value(400);
    let row = Row { lsn: Lsn(9), deadline: None, is_raw: false, body: RowBody::Bytes(&value) };
    let mut encoded = Vec::new();
    schema::put_row(&mut encoded, &row);
    let mut out = Vec::with_capacity(1024);
    c.bench_function("row/put key and row", |b| {
        b.iter(|| {
            out.clear();
            schema::put_row_key(&mut out, DbId(1), black_box(77), KEY);
            schema::put_row(&mut out, black_box(&row));
        });
    });
    c.bench_function("row/read", |b| b.iter(|| schema::read_row(black_box(&encoded)).is_ok()));
}

fn dumps(c: &mut Criterion) {
    let value = value(4096);
    let payload = dump::dump_string(&value);
    c.bench_function("dump/4096", |b| b.iter(|| dump::dump_string(black_box(&value))));
    c.bench_function("restore/4096", |b| b.iter(|| dump::open(black_box(&payload)).is_ok()));
}

criterion_group!(benches, effects, frames, rows, dumps);
criterion_main!(benches);
