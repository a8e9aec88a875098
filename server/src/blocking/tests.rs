//! Turns and their order, on the registry alone: the tests say what the waiters' commands find.

use super::*;

const DB: DbIndex = DbIndex(0);

fn key(name: &str) -> Key {
    Arc::from(name.as_bytes())
}

/// A registry, and the LSN of the last commit.
struct Rig {
    registry: Registry,
    lsn: u64,
}

impl Rig {
    fn new() -> Self {
        Rig { registry: Registry::new(), lsn: 0 }
    }

    /// Someone who comes and finds nothing.
    fn wait(&mut self, lane: Lane, keys: &[&str]) -> Ticket {
        let ticket = self.come(lane, keys);
        self.registry.found_nothing(ticket);
        ticket
    }

    /// Someone who came and has not looked yet.
    fn come(&mut self, lane: Lane, keys: &[&str]) -> Ticket {
        self.registry.enter(Entry {
            client: self.registry.last_ticket + 100,
            db: DB,
            lane,
            keys: keys.iter().map(|name| key(name)).collect(),
            has_timeout: false,
            has_looked: false,
            turns: VecDeque::new(),
            current: None,
            unblocked: None,
            wake: Arc::default(),
        })
    }

    fn commit(&mut self, name: &str, change: Change) -> Option<Claim> {
        self.lsn += 1;
        self.registry.tell(Lsn(self.lsn), DB, name.as_bytes(), change);
        self.registry.claims.remove(&Lsn(self.lsn))
    }

    /// Who has a turn, oldest first.
    fn called(&self) -> Vec<Ticket> {
        let entries = self.registry.entries.iter();
        let mut all: Vec<_> = entries.filter(|(_, e)| !e.turns.is_empty()).map(|(t, _)| *t).collect();
        all.sort_unstable();
        all
    }

    fn in_vain(&mut self, ticket: Ticket) {
        let turn = self.registry.take_turn(ticket).expect("it has a turn");
        self.registry.found_nothing(ticket);
        drop(turn);
    }

    fn served(&mut self, ticket: Ticket) {
        let turn = self.registry.take_turn(ticket);
        self.registry.leave(ticket);
        drop(turn);
    }
}

#[test]
fn turns_go_from_the_oldest_on_until_one_finds_nothing() {
    let mut rig = Rig::new();
    let waiters: Vec<Ticket> = (0..4).map(|_| rig.wait(Lane::List, &["k"])).collect();
    let claim = rig.commit("k", Change::Any).expect("somebody waits");
    assert_eq!(rig.called(), [waiters[0]]);
    rig.served(waiters[0]);
    assert_eq!(rig.called(), [waiters[1]]);
    rig.in_vain(waiters[1]);
    assert!(rig.called().is_empty(), "the others would find nothing either");
    assert!(claim.is_over());
    rig.commit("k", Change::Any);
    assert_eq!(rig.called(), [waiters[1]], "it kept its place");
    rig.registry.leave(waiters[1]);
    assert_eq!(rig.called(), [waiters[2]], "who vanishes passes its turn on");
    assert!(rig.commit("other", Change::Any).is_none());
}

#[test]
fn lanes_do_not_wait_for_each_other() {
    let mut rig = Rig::new();
    let group = |name: &str| Lane::Group(Arc::from(name.as_bytes()));
    let list = rig.wait(Lane::List, &["k"]);
    let readers = [rig.wait(Lane::Readers, &["k"]), rig.wait(Lane::Readers, &["k"])];
    let (a, a2, b) =
        (rig.wait(group("a"), &["k"]), rig.wait(group("a"), &["k"]), rig.wait(group("b"), &["k"]));
    rig.commit("k", Change::Any);
    assert_eq!(rig.called(), [list]);
    rig.in_vain(list);
    assert_eq!(rig.called(), [readers[0], readers[1], a], "readers do not wait for each other");
    rig.in_vain(a);
    assert_eq!(rig.called(), [readers[0], readers[1], b]);
    rig.in_vain(b);
    let claim = rig.commit("k", Change::Gone).expect("groups are told");
    assert_eq!(rig.called(), [readers[0], readers[1], a]);
    rig.served(a);
    rig.served(a2);
    rig.served(b);
    assert!(claim.is_over());
}

#[test]
fn a_change_during_a_pass_starts_the_next_one() {
    let mut rig = Rig::new();
    let (first, second) = (rig.wait(Lane::List, &["k"]), rig.wait(Lane::List, &["k"]));
    let one = rig.commit("k", Change::Any).expect("somebody waits");
    let two = rig.commit("k", Change::Any).expect("somebody waits");
    rig.in_vain(first);
    assert!(one.is_over() && !two.is_over());
    assert_eq!(rig.called(), [first]);
    rig.served(first);
    rig.in_vain(second);
    assert!(two.is_over());
}

/// It left what it found to the one before it, who took only a part.
#[test]
fn who_comes_during_a_pass_gets_a_turn_after_it() {
    let mut rig = Rig::new();
    let first = rig.wait(Lane::List, &["k"]);
    let claim = rig.commit("k", Change::Any).expect("somebody waits");
    let late = rig.wait(Lane::List, &["k"]);
    assert!(rig.registry.is_behind(late, DB, b"k", &Lane::List));
    assert!(!rig.registry.is_behind(late, DB, b"k", &Lane::SortedSet));
    assert!(!rig.registry.is_behind(first, DB, b"k", &Lane::List));
    rig.served(first);
    assert!(claim.is_over(), "the commit does not wait for those who came later");
    assert_eq!(rig.called(), [late]);
}

/// The same, when the one before it is served by its first look and had no turn at all.
#[test]
fn who_is_served_at_once_leaves_a_turn_to_those_behind() {
    let mut rig = Rig::new();
    let first = rig.come(Lane::List, &["k"]);
    let second = rig.wait(Lane::List, &["k"]);
    rig.served(first);
    assert_eq!(rig.called(), [second]);
}

#[test]
fn one_waiter_may_have_turns_of_several_keys() {
    let mut rig = Rig::new();
    let both = rig.wait(Lane::List, &["x", "y"]);
    let (only_x, only_y) = (rig.wait(Lane::List, &["x"]), rig.wait(Lane::List, &["y"]));
    let claims = [rig.commit("x", Change::Any), rig.commit("y", Change::Any)];
    assert_eq!(rig.called(), [both]);
    rig.served(both);
    assert_eq!(rig.called(), [only_x, only_y]);
    rig.served(only_x);
    rig.in_vain(only_y);
    assert!(claims.iter().flatten().all(Claim::is_over));
    rig.served(only_y);
    assert!(rig.registry.queues.iter().all(HashMap::is_empty) && rig.registry.clients.is_empty());
}

#[test]
fn who_was_unblocked_has_no_turn() {
    let mut rig = Rig::new();
    let (first, second) = (rig.wait(Lane::List, &["k"]), rig.wait(Lane::List, &["k"]));
    rig.registry.entries.get_mut(&first).expect("it waits").unblocked = Some(Unblock::Error);
    assert!(!rig.registry.is_behind(second, DB, b"k", &Lane::List));
    rig.commit("k", Change::Any);
    assert_eq!(rig.called(), [second]);
}

#[test]
fn what_nobody_claims_is_forgotten() {
    let mut rig = Rig::new();
    let waiter = rig.wait(Lane::List, &["k"]);
    for lsn in 1000..2000 {
        rig.registry.tell(Lsn(lsn), DB, b"k", Change::Any);
        rig.in_vain(waiter);
    }
    assert_eq!(rig.registry.claims.len(), 1);
}
