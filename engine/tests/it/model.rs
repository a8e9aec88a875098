//! Random commands against a map, with spills, promotions, expiry, rounds and crashes between.

use lux_engine::env::sim::SimRng;
use lux_engine::ids::DbIndex;

use crate::rig::{DB, Options, Rig};
use crate::snapshots::View;
use crate::trace::Map;

/// The store beside what it should hold.
struct Model {
    seed: u64,
    rig: Option<Rig>,
    map: Map,
    /// States after each commit since the last sync: a power cut may leave any of them.
    history: Vec<Map>,
    /// Open snapshots, and how many were read to the end.
    views: Vec<View>,
    views_read: u64,
    rng: SimRng,
    /// Some values are larger than a commit may be.
    has_large: bool,
    log: Vec<String>,
}

impl Drop for Model {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, the last steps:\n{}", self.seed, self.tail());
        }
    }
}

impl Model {
    fn new(seed: u64, options: Options) -> Model {
        let rig = Rig::with(options);
        Model {
            seed,
            rig: Some(rig),
            map: Map::new(),
            history: vec![Map::new()],
            views: Vec::new(),
            views_read: 0,
            rng: SimRng::new(seed),
            has_large: false,
            log: Vec::new(),
        }
    }

    fn rig(&self) -> &Rig {
        self.rig.as_ref().expect("open")
    }

    fn key(&mut self) -> Vec<u8> {
        match self.rng.below(10) {
            0 => format!("{{tag}}{}", self.rng.below(8)).into_bytes(),
            _ => format!("key:{}", self.rng.below(24)).into_bytes(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        match self.rng.below(12) {
            0 => Vec::new(),
            1..=3 => self.rng.below(1 << 40).to_string().into_bytes(),
            4 => vec![b'x'; 1500 + self.rng.below(3000) as usize],
            // Not in a store whose commits are too small for it.
            5 if self.rng.below(10) == 0 && self.rig().options.maxmemory >= 16 << 20 => {
                vec![b'p'; (1 << 20) + self.rng.below(200_000) as usize]
            }
            // Built from parts, in memory that does not hold it.
            5 if self.has_large && self.rng.below(3) == 0 => {
                let mut bytes = vec![b'l'; (1 << 20) + 1 + self.rng.below(400_000) as usize];
                let (at, salt) = (self.rng.below(1 << 20) as usize, self.rng.next_u64().to_le_bytes());
                bytes[at..at + salt.len()].copy_from_slice(&salt);
                bytes
            }
            _ => format!("value {}", self.rng.next_u64()).into_bytes(),
        }
    }

    /// Removes what is past its deadline.
    fn settle(&mut self) {
        let now = self.rig().now_ms();
        self.map.retain(|_, (_, at)| at.is_none_or(|at| at > now));
    }

    fn live(&self, key: &[u8]) -> Option<&(Vec<u8>, Option<u64>)> {
        let now = self.rig().now_ms();
        self.map.get(key).filter(|(_, at)| at.is_none_or(|at| at > now))
    }

    fn step(&mut self) {
        let key = self.key();
        let choice = self.rng.below(100);
        self.settle();
        match choice {
            0..=29 => {
                let value = self.value();
                let now = self.rig().now_ms();
                let at = match self.rng.below(5) {
                    0 => Some(now + 1 + self.rng.below(5_000)),
                    1 => Some(now + 1 + self.rng.below(2_000_000)),
                    _ => None,
                };
                self.log.push(format!("set {} {} {at:?}", key.escape_ascii(), value.len()));
                self.rig().set_until(&key, &value, at);
                self.map.insert(key, (value, at));
            }
            30..=39 => {
                self.log.push(format!("del {}", key.escape_ascii()));
                assert_eq!(self.rig().del(&key), self.map.remove(&key).is_some(), "{}", self.tail());
            }
            40..=49 => {
                let bytes = self.value();
                self.log.push(format!("append {} {}", key.escape_ascii(), bytes.len()));
                self.rig().append(&key, &bytes);
                self.map.entry(key).or_default().0.extend_from_slice(&bytes);
            }
            50..=55 => {
                let (offset, bytes) = (self.rng.below(3000) as usize, self.value());
                self.log.push(format!("setrange {} {offset} {}", key.escape_ascii(), bytes.len()));
                let done = self.rig().set_range(&key, offset, &bytes);
                if let Some((value, _)) = self.map.get_mut(&key) {
                    assert!(done);
                    let len = value.len().max(offset + bytes.len());
                    value.resize(len, 0);
                    value[offset..offset + bytes.len()].copy_from_slice(&bytes);
                }
            }
            56..=62 => {
                let now = self.rig().now_ms();
                let at = (self.rng.below(3) > 0).then(|| now + 1 + self.rng.below(4_000_000));
                self.log.push(format!("expire {} {at:?}", key.escape_ascii()));
                let done = self.rig().expire_at(&key, at);
                assert_eq!(done, self.map.contains_key(&key), "{}", self.tail());
                if let Some((_, deadline)) = self.map.get_mut(&key) {
                    *deadline = at;
                }
            }
            63..=68 => {
                let to = self.key();
                self.log.push(format!("rename {} {}", key.escape_ascii(), to.escape_ascii()));
                assert_eq!(self.rig().rename(&key, &to), self.map.contains_key(&key), "{}", self.tail());
                if let Some(value) = self.map.remove(&key) {
                    self.map.insert(to, value);
                }
            }
            69..=72 => {
                let (other, a, b) = (self.key(), self.value(), self.value());
                self.log.push(format!("mset {} {}", key.escape_ascii(), other.escape_ascii()));
                self.rig().mset(&[(&key, &a), (&other, &b)]);
                self.map.insert(key, (a, None));
                self.map.insert(other, (b, None));
            }
            73..=82 => self.check_key(&key),
            83..=86 => {
                self.log.push("evict".into());
                self.rig().evict_all();
            }
            87..=89 => {
                self.log.push("checkpoint".into());
                self.rig().checkpoint();
                self.history = vec![self.map.clone()];
            }
            90 => {
                self.log.push("flushdb".into());
                self.rig().flush_db(DB);
                self.map.clear();
            }
            91 => {
                self.log.push("swapdb twice".into());
                self.rig().swap_db(DB, DbIndex(3));
                self.history.push(Map::new());
                self.rig().swap_db(DB, DbIndex(3));
            }
            92 => {
                let by = self.rng.below(3_000);
                self.log.push(format!("advance {by} and reap"));
                self.rig().advance(by);
                self.rig().engine.reaper().tick().expect("reaps");
            }
            93 => {
                self.log.push("sync".into());
                self.rig().sync();
                self.history = vec![self.map.clone()];
            }
            94..=95 => {
                self.log.push("kill".into());
                self.views.clear();
                self.rig = Some(self.rig.take().expect("open").kill());
                self.check_all();
            }
            96 => {
                self.log.push("restart".into());
                self.views.clear();
                self.rig = Some(self.rig.take().expect("open").restart());
                self.check_all();
            }
            97 => self.power_cut(),
            _ => self.check_all(),
        }
        if choice <= 72 || choice == 90 {
            self.history.push(self.map.clone());
        }
        self.long_read();
    }

    /// Opens a snapshot, or reads one and closes it, or does nothing.
    fn long_read(&mut self) {
        match self.rng.below(30) {
            0..=2 if self.views.len() < 3 => {
                self.log.push("open a snapshot".into());
                self.views.push(View::open(self.rig(), &self.map));
            }
            3..=4 if !self.views.is_empty() => {
                let at = self.rng.below(self.views.len() as u64) as usize;
                self.log.push(format!("read snapshot {at}"));
                let outcome = self.views[at].check();
                assert!(outcome.is_ok(), "{outcome:?}:\n{}", self.tail());
                self.views_read += u64::from(outcome == Ok(true));
                self.views.remove(at);
            }
            _ => {}
        }
    }

    fn tail(&self) -> String {
        self.log[self.log.len().saturating_sub(40)..].join("\n")
    }

    fn check_key(&mut self, key: &[u8]) {
        self.log.push(format!("get {}", key.escape_ascii()));
        let expected = self.live(key).map(|(value, _)| value.clone());
        assert!(self.rig().get(key) == expected, "value of {}:\n{}", key.escape_ascii(), self.tail());
        let deadline = self.live(key).and_then(|(_, at)| *at);
        assert_eq!(self.rig().deadline(key), deadline, "{}", self.tail());
    }

    fn check_all(&mut self) {
        self.settle();
        let keys: Vec<Vec<u8>> = self.map.keys().cloned().collect();
        assert_eq!(self.rig().scan_all(), keys, "keys by SCAN:\n{}", self.tail());
        for key in keys {
            self.check_key(&key);
        }
        self.rig().engine.reaper().tick().expect("reaps");
        self.rig().check_counters();
    }

    /// After a power cut the store holds one of the states since the last sync, and never an
    /// older one.
    fn power_cut(&mut self) {
        self.log.push("power cut".into());
        self.views.clear();
        let cut = self.rig.take().expect("open").power_cut(&mut self.rng);
        let cut = cut.unwrap_or_else(|error| panic!("opens after a power cut: {error}\n{}", self.tail()));
        self.rig = Some(cut);
        let now = self.rig().now_ms();
        let found: Map = self
            .rig()
            .scan_all()
            .into_iter()
            .map(|key| {
                let value = self.rig().get(&key).expect("scanned");
                let at = self.rig().deadline(&key);
                (key, (value, at))
            })
            .collect();
        let is_it = |state: &Map| {
            let live = state.iter().filter(|(_, (_, at))| at.is_none_or(|at| at > now));
            live.eq(found.iter())
        };
        assert!(self.history.iter().rev().any(is_it), "a state that never was:\n{}", self.tail());
        self.map = found;
        self.history = vec![self.map.clone()];
        self.check_all();
    }
}

fn run_model(seed: u64, steps: u64, options: Options) -> u64 {
    let mut model = Model::new(seed, options);
    for _ in 0..steps {
        model.step();
    }
    model.check_all();
    model.views_read
}

#[test]
fn behaves_like_a_map_through_spills_and_crashes() {
    let read: Vec<u64> = seeds().map(|seed| run_model(seed, 400, Options::default())).collect();
    assert!(read.iter().sum::<u64>() > read.len() as u64, "snapshots must have been read: {read:?}");
}

/// With values that are larger than a commit may be.
#[test]
fn behaves_like_a_map_with_values_built_from_parts() {
    let small = Options { maxmemory: 2 << 20, segment_bytes: 256 << 10, ..Options::default() };
    for seed in seeds().step_by(3) {
        let mut model = Model::new(seed, small);
        model.has_large = true;
        for _ in 0..200 {
            model.step();
        }
        model.check_all();
        model.settle();
        let lens: Vec<usize> = model.map.values().map(|(value, _)| value.len()).collect();
        model.views.clear();
        crate::parts::check_no_leak(model.rig(), &lens)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

/// With a megabyte of memory, segments that change every few records, and commits that are
/// acknowledged when they are synced.
#[test]
fn behaves_like_a_map_in_little_memory() {
    let small = Options { maxmemory: 1 << 20, segment_bytes: 8 << 10, ..Options::default() };
    for seed in seeds() {
        run_model(seed, 300, if seed % 2 == 0 { small } else { small.always() });
    }
}

/// `LUX_MODEL_SEEDS` is their number, `LUX_MODEL_FIRST` the first.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let first = number("LUX_MODEL_FIRST").unwrap_or(0);
    first..first + number("LUX_MODEL_SEEDS").unwrap_or(30)
}
