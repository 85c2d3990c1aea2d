//! Walks all pairs of state and event, and compares each with a table that was written by hand.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::*;
use crate::port::{Handle, Key};
use crate::transport::stream::Direction;

/// What follows each event in each state. Exactly one row speaks of each pair.
///
/// A cell with several words stands for each of them, one with `!` for all others, `*` for all. "When" names facts that
/// all must hold, or with `!` must not: `asked`, the program has paused the stream; `waits`, it pauses while congested;
/// `crowded`, it does so now; `silent`, it is paused for either reason; `hung`, a hang-up was seen; and what the link
/// can do. "Becomes" says what changes: the stage (`s`), the reading (`r`) or writing half (`w`), the hang-up (`h`), or
/// a flag.
const TABLE: &str = "
event               | stage           | reading                    | writing    | when                 | becomes                          | next
Pause               | *               | *                          | *          |                      | asked:yes                        | Nothing
PauseWhileCongested | *               | *                          | *          |                      | waits:yes                        | Nothing
Resume              | *               | *                          | *          | !asked               |                                  | Nothing
Resume              | Open Leaving    | *                          | *          | asked crowded        | asked:no                         | Nothing
Resume              | Open Leaving    | Flowing Ended Refused      | *          | asked !crowded       | asked:no                         | Receive
Resume              | Open Leaving    | Holding HoldingEnd EndHeld | *          | asked !crowded       | asked:no                         | Release
Resume              | !Open !Leaving  | *                          | *          | asked                | asked:no                         | Nothing
Congested           | *               | *                          | *          |                      | congested:yes                    | Nothing
Relieved            | *               | *                          | *          | waits                | congested:no                     | ReceiveOn
Relieved            | *               | *                          | *          | !waits               | congested:no                     | Nothing
ReceiveOn           | Open Leaving    | *                          | *          | silent               |                                  | Nothing
ReceiveOn           | Open Leaving    | Flowing Ended Refused      | *          | !silent              |                                  | Receive
ReceiveOn           | Open Leaving    | Holding HoldingEnd EndHeld | *          | !silent              |                                  | Release
ReceiveOn           | !Open !Leaving  | *                          | *          |                      |                                  | Nothing
Received            | Open            | Flowing                    | *          | !silent              |                                  | Deliver
Received            | Open            | Flowing                    | *          | silent               | r:Holding                        | Hold
Received            | Open            | Holding                    | *          |                      |                                  | Hold
Received            | Open            | !Flowing !Holding          | *          |                      |                                  | Drop
Received            | !Open           | *                          | *          |                      |                                  | Drop
Release             | Open            | *                          | *          | silent               |                                  | Nothing
Release             | Open            | Holding HoldingEnd         | *          | !silent              |                                  | DeliverHeld
Release             | Open            | Flowing                    | *          | !silent              |                                  | Receive
Release             | Open            | Ended Refused              | *          | !silent              |                                  | Nothing
Release             | Open            | EndHeld                    | !Ended     | !silent sends !hung  | r:Ended                          | TellReadEnd
Release             | Open            | EndHeld                    | !Ended     | !silent sends hung   | r:Ended                          | TellReadEnd last
Release             | Open            | EndHeld                    | Ended      | !silent sends        | r:Ended                          | TellReadEnd last
Release             | Open            | EndHeld                    | *          | !silent !sends       | s:Closing/InOrder r:Ended        | AwaitSend
Release             | !Open           | *                          | *          |                      |                                  | Nothing
HeldDelivered       | *               | Holding                    | *          |                      | r:Flowing                        | Nothing
HeldDelivered       | *               | HoldingEnd                 | *          |                      | r:EndHeld                        | Nothing
HeldDelivered       | *               | !Holding !HoldingEnd       | *          |                      |                                  | Nothing
EndOfFile           | Open            | Flowing                    | *          | silent !hung         | r:EndHeld                        | Nothing
EndOfFile           | Open            | Flowing                    | !Ended     | !silent !hung sends  | r:Ended                          | TellReadEnd
EndOfFile           | Open            | Flowing                    | Ended      | !silent !hung sends  | r:Ended                          | TellReadEnd last
EndOfFile           | Open            | Flowing                    | *          | hung sends           | r:Ended                          | TellReadEnd last
EndOfFile           | Open            | Flowing                    | *          | !silent !hung !sends | s:Closing/InOrder r:Ended        | AwaitSend
EndOfFile           | Open            | Flowing                    | *          | hung !sends          | s:Closing/InOrder r:Ended        | AwaitSend
EndOfFile           | Open            | Holding                    | *          |                      | r:HoldingEnd                     | Nothing
EndOfFile           | Open            | !Flowing !Holding          | *          |                      |                                  | Nothing
EndOfFile           | !Open !Told     | *                          | *          |                      | r:Ended                          | Nothing
EndOfFile           | Told            | *                          | *          |                      | s:Closed r:Ended                 | CloseHandle
HangUpAwaited       | *               | *                          | *          |                      | h:Awaited                        | Nothing
HangUpOver          | *               | *                          | *          |                      | h:Unasked                        | Nothing
HungUp/sent         | Open Leaving    | *                          | *          | !receives            | s:Closing/InOrder h:Seen         | AwaitSend
HungUp/unsent       | Open Leaving    | *                          | *          | !receives            | h:Seen                           | Nothing
HungUp/*            | Open Leaving    | Ended                      | *          | receives             | s:Closing/InOrder h:Seen         | AwaitSend
HungUp/*            | Open Leaving    | EndHeld                    | *          | receives sends       | r:Ended h:Seen                   | TellReadEnd last
HungUp/*            | Open Leaving    | EndHeld                    | *          | receives !sends      | s:Closing/InOrder r:Ended h:Seen | AwaitSend
HungUp/*            | Open Leaving    | !EndHeld !Ended            | *          | receives             | h:Seen                           | Receive
HungUp/*            | !Open !Leaving  | *                          | *          |                      | h:Seen                           | Receive
LoseWrite           | Open            | *                          | Open       |                      | w:Finishing                      | Drain
LoseWrite           | Open            | *                          | !Open      |                      |                                  | Nothing
LoseWrite           | !Open           | *                          | *          |                      |                                  | Nothing
Lose                | Open            | Flowing Ended Refused      | Open       |                      | s:Leaving w:Finishing            | Leave
Lose                | Open            | Holding                    | Open       |                      | s:Leaving r:Flowing w:Finishing  | Leave
Lose                | Open            | HoldingEnd EndHeld         | Open       |                      | s:Leaving r:Ended w:Finishing    | Leave
Lose                | Open            | Flowing Ended Refused      | !Open      |                      | s:Leaving                        | Leave
Lose                | Open            | Holding                    | !Open      |                      | s:Leaving r:Flowing              | Leave
Lose                | Open            | HoldingEnd EndHeld         | !Open      |                      | s:Leaving r:Ended                | Leave
Lose                | !Open           | *                          | *          |                      |                                  | Nothing
Drained             | Leaving         | *                          | *          |                      | s:Closing/InOrder                | AwaitSend
Drained             | Open            | *                          | !Finishing |                      |                                  | Nothing
Drained             | Open            | Ended                      | Finishing  | half_closes          | w:Ended                          | EndWriting last
Drained             | Open            | !Ended                     | Finishing  | half_closes          | w:Ended                          | EndWriting
Drained             | Open            | *                          | Finishing  | !half_closes         | s:Closing/InOrder                | AwaitSend
Drained             | !Open !Leaving  | *                          | *          |                      |                                  | Nothing
Close/InOrder       | Open Leaving    | *                          | *          |                      | s:Closing/InOrder                | AwaitSend
Close/AtOnce        | Open Leaving    | *                          | *          |                      | s:Closing/AtOnce                 | AwaitSend
Close/Reset         | Open Leaving    | *                          | *          |                      | s:Closing/Reset                  | AwaitSend
Close/*             | !Open !Leaving  | *                          | *          |                      |                                  | Nothing
SendFailed          | Open            | !Ended !Refused            | *          | fails_by_half        | w:Ended                          | Receive
SendFailed          | Open            | !Ended !Refused            | *          | !fails_by_half       | s:Closing/AtOnce                 | AwaitSend
SendFailed          | Open            | Ended Refused              | *          |                      | s:Closing/AtOnce                 | AwaitSend
SendFailed          | Leaving         | *                          | *          |                      | s:Closing/AtOnce                 | AwaitSend
SendFailed          | Closing Closed  | *                          | *          |                      |                                  | Nothing
SendFailed          | Told            | *                          | *          |                      | s:Closed                         | CloseHandle
Failed              | Open Leaving    | *                          | *          |                      | s:Closing/AtOnce                 | AwaitSend
Failed              | Closing Closed  | *                          | *          |                      |                                  | Nothing
Failed              | Told            | *                          | *          |                      | s:Closed                         | CloseHandle
OutOfTime           | Open Leaving    | *                          | *          |                      | s:Closing/AtOnce                 | AwaitSend
OutOfTime           | Closing         | *                          | *          |                      | s:Closing/AtOnce                 | Nothing
OutOfTime           | Told            | *                          | *          |                      | s:Closed                         | CloseHandle
OutOfTime           | Closed          | *                          | *          |                      |                                  | Nothing
SendOver            | Closing/InOrder | Flowing                    | !Ended     | lingers              | s:Told/InOrder w:Ended           | TellEnd shut_down linger
SendOver            | Closing/InOrder | Holding                    | !Ended     | lingers              | s:Told/InOrder r:Flowing w:Ended | TellEnd shut_down linger
SendOver            | Closing/InOrder | Flowing                    | Ended      | lingers              | s:Told/InOrder                   | TellEnd linger
SendOver            | Closing/InOrder | Holding                    | Ended      | lingers              | s:Told/InOrder r:Flowing         | TellEnd linger
SendOver            | Closing/InOrder | HoldingEnd EndHeld         | *          | lingers              | s:Told/InOrder r:Ended w:Ended   | TellEnd
SendOver            | Closing/InOrder | Ended Refused              | *          | lingers              | s:Told/InOrder w:Ended           | TellEnd
SendOver            | Closing/InOrder | Flowing Ended Refused      | *          | !lingers             | s:Told/InOrder w:Ended           | TellEnd
SendOver            | Closing/InOrder | Holding                    | *          | !lingers             | s:Told/InOrder r:Flowing w:Ended | TellEnd
SendOver            | Closing/InOrder | HoldingEnd EndHeld         | *          | !lingers             | s:Told/InOrder r:Ended w:Ended   | TellEnd
SendOver            | Closing/AtOnce  | Flowing Ended Refused      | *          |                      | s:Told/AtOnce w:Ended            | TellEnd
SendOver            | Closing/AtOnce  | Holding                    | *          |                      | s:Told/AtOnce r:Flowing w:Ended  | TellEnd
SendOver            | Closing/AtOnce  | HoldingEnd EndHeld         | *          |                      | s:Told/AtOnce r:Ended w:Ended    | TellEnd
SendOver            | Closing/Reset   | Flowing Ended Refused      | *          |                      | s:Told/Reset w:Ended             | TellEnd
SendOver            | Closing/Reset   | Holding                    | *          |                      | s:Told/Reset r:Flowing w:Ended   | TellEnd
SendOver            | Closing/Reset   | HoldingEnd EndHeld         | *          |                      | s:Told/Reset r:Ended w:Ended     | TellEnd
SendOver            | !Closing        | *                          | *          |                      |                                  | Nothing
DroppedEnough       | !Told           | !Flowing !Holding          | *          |                      |                                  | Nothing
DroppedEnough       | !Told           | Flowing Holding            | *          |                      | r:Refused                        | Nothing
DroppedEnough       | Told            | !Flowing !Holding          | *          |                      | s:Closed                         | CloseHandle
DroppedEnough       | Told            | Flowing Holding            | *          |                      | s:Closed r:Refused               | CloseHandle
LingerOver          | Told            | *                          | *          |                      | s:Closed                         | CloseHandle
LingerOver          | !Told           | *                          | *          |                      |                                  | Nothing
Abandoned           | *               | *                          | *          |                      | s:Closed w:Ended                 | Nothing
";

const STAGES: [Stage; 9] = [
    Stage::Open,
    Stage::Leaving,
    Stage::Closing(Ending::InOrder),
    Stage::Closing(Ending::AtOnce),
    Stage::Closing(Ending::Reset),
    Stage::Told(Ending::InOrder),
    Stage::Told(Ending::AtOnce),
    Stage::Told(Ending::Reset),
    Stage::Closed,
];

const READINGS: [Reading; 6] = [
    Reading::Flowing,
    Reading::Holding,
    Reading::HoldingEnd,
    Reading::EndHeld,
    Reading::Ended,
    Reading::Refused,
];

const WRITINGS: [Writing; 3] = [Writing::Open, Writing::Finishing, Writing::Ended];

const HANG_UPS: [HangUp; 3] = [HangUp::Unasked, HangUp::Awaited, HangUp::Seen];

/// The combinations of the three flags of a state.
const FLAGS: usize = 8;

const EVENTS: [Event; 27] = [
    Event::Pause,
    Event::PauseWhileCongested,
    Event::Resume,
    Event::LoseWrite,
    Event::Lose,
    Event::Close(Ending::InOrder),
    Event::Close(Ending::AtOnce),
    Event::Close(Ending::Reset),
    Event::Received,
    Event::EndOfFile,
    Event::HangUpAwaited,
    Event::HangUpOver,
    Event::HungUp { all_sent: true },
    Event::HungUp { all_sent: false },
    Event::Failed,
    Event::SendFailed,
    Event::Congested,
    Event::Relieved,
    Event::Drained,
    Event::SendOver,
    Event::HeldDelivered,
    Event::DroppedEnough,
    Event::ReceiveOn,
    Event::Release,
    Event::OutOfTime,
    Event::LingerOver,
    Event::Abandoned,
];

/// A TCP connection, both ends of a pipe, a pair of pipes, duplex pipes, and a link that neither half-closes nor lingers.
fn links() -> [Link; 7] {
    let tcp = Link::tcp(([127, 0, 0, 1], 1).into());
    let plain = Link {
        half_closes: false,
        lingers: false,
        ..tcp.clone()
    };
    let (reader, writer) = (Link::pipe(Direction::In), Link::pipe(Direction::Out));
    let pair = Link::pair(Handle(Key::from_u64(1)));
    let [whole, other] = [true, false].map(Link::duplex);
    [tcp, reader, writer, pair, whole, other, plain]
}

fn all_states() -> Vec<State> {
    let mut states = Vec::new();
    for (stage, reading) in pairs(&STAGES, &READINGS) {
        for (writing, hang_up) in pairs(&WRITINGS, &HANG_UPS) {
            for flags in 0..FLAGS {
                states.push(State {
                    stage,
                    reading,
                    writing,
                    hang_up,
                    paused: flags & 1 != 0,
                    pauses_while_congested: flags & 2 != 0,
                    congested: flags & 4 != 0,
                });
            }
        }
    }
    states
}

fn pairs<A: Copy, B: Copy>(one: &[A], other: &[B]) -> Vec<(A, B)> {
    let with_all = |a: &A| {
        let a = *a;
        other.iter().map(move |b| (a, *b))
    };
    one.iter().flat_map(with_all).collect()
}

/// The name of a value, and that of what it contains behind a `/`.
fn name(value: impl std::fmt::Debug) -> String {
    let debug = format!("{value:?}");
    let debug = debug.replace(" { all_sent: true }", "/sent");
    let debug = debug.replace(" { all_sent: false }", "/unsent");
    debug.replace('(', "/").replace(')', "")
}

/// Whether a cell of the table stands for the value of this name.
fn covers(cell: &str, name: &str) -> bool {
    let (outer, _) = name.split_once('/').unwrap_or((name, ""));
    let any_inner = format!("{outer}/*");
    let is_it = |word: &str| word == name || word == outer || word == any_inner;
    let mut words = cell.split_whitespace();
    match cell {
        "*" => true,
        _ if cell.starts_with('!') => words.all(|word| !is_it(&word[1..])),
        _ => words.any(is_it),
    }
}

fn holds(fact: &str, state: &State, link: &Link) -> bool {
    if let Some(denied) = fact.strip_prefix('!') {
        return !holds(denied, state, link);
    }
    match fact {
        "asked" => state.paused,
        "waits" => state.pauses_while_congested,
        "crowded" => state.pauses_while_congested && state.congested,
        "silent" => holds("asked", state, link) || holds("crowded", state, link),
        "hung" => state.hang_up == HangUp::Seen,
        "receives" => link.receives(),
        "sends" => link.sends(),
        "half_closes" => link.half_closes,
        "fails_by_half" => link.fails_by_half,
        "lingers" => link.lingers,
        other => panic!("the table has no fact {other}"),
    }
}

/// A row of the table: the cells that say where it applies, the facts, and what becomes of the state.
struct Row {
    cells: Vec<&'static str>,
    facts: Vec<&'static str>,
    changes: Vec<Change>,
}

enum Change {
    Stage(Stage),
    Reading(Reading),
    Writing(Writing),
    HangUp(HangUp),
    Asked(bool),
    Waits(bool),
    Congested(bool),
}

impl Row {
    fn parse(line: &'static str) -> Row {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        Row {
            facts: cells[4].split_whitespace().collect(),
            changes: cells[5].split_whitespace().map(Change::parse).collect(),
            cells,
        }
    }

    fn covers(&self, event: &str, state: &State) -> bool {
        covers(self.cells[0], event)
            && covers(self.cells[1], &name(state.stage))
            && covers(self.cells[2], &name(state.reading))
            && covers(self.cells[3], &name(state.writing))
    }
}

impl Change {
    fn parse(text: &str) -> Change {
        fn find<T: Copy + std::fmt::Debug>(all: &[T], wanted: &str) -> T {
            let found = all.iter().find(|value| name(value) == wanted);
            *found.unwrap_or_else(|| panic!("the table has no value {wanted}"))
        }
        match text.split_once(':') {
            Some(("s", to)) => Change::Stage(find(&STAGES, to)),
            Some(("r", to)) => Change::Reading(find(&READINGS, to)),
            Some(("w", to)) => Change::Writing(find(&WRITINGS, to)),
            Some(("h", to)) => Change::HangUp(find(&HANG_UPS, to)),
            Some(("asked", to)) => Change::Asked(to == "yes"),
            Some(("waits", to)) => Change::Waits(to == "yes"),
            Some(("congested", to)) => Change::Congested(to == "yes"),
            _ => panic!("the table has no change {text}"),
        }
    }

    fn make(&self, state: &mut State) {
        match *self {
            Change::Stage(to) => state.stage = to,
            Change::Reading(to) => state.reading = to,
            Change::Writing(to) => state.writing = to,
            Change::HangUp(to) => state.hang_up = to,
            Change::Asked(to) => state.paused = to,
            Change::Waits(to) => state.pauses_while_congested = to,
            Change::Congested(to) => state.congested = to,
        }
    }
}

/// What a row's last cell stands for in `state`.
fn follows(next: &str, state: &State) -> Next {
    let has = |word| next.split_whitespace().any(|each| each == word);
    match next.split_whitespace().next() {
        Some("Nothing") => Next::Nothing,
        Some("Deliver") => Next::Deliver,
        Some("Hold") => Next::Hold,
        Some("Drop") => Next::Drop,
        Some("Receive") => Next::Receive,
        Some("ReceiveOn") => Next::ReceiveOn,
        Some("Release") => Next::Release,
        Some("DeliverHeld") => Next::DeliverHeld,
        Some("Drain") => Next::Drain,
        Some("Leave") => Next::Leave,
        Some("AwaitSend") => Next::AwaitSend,
        Some("TellReadEnd") => Next::TellReadEnd { last: has("last") },
        Some("EndWriting") => Next::EndWriting { last: has("last") },
        Some("TellEnd") => Next::TellEnd {
            shut_down: has("shut_down"),
            linger: has("linger"),
        },
        Some("CloseHandle") => Next::CloseHandle(match state.stage {
            Stage::Told(Ending::Reset) => CloseMode::Reset,
            _ => CloseMode::Graceful,
        }),
        _ => panic!("nothing is called {next}"),
    }
}

#[test]
fn each_pair_of_state_and_event_does_as_the_table_says() {
    let rows: Vec<Row> = TABLE.lines().skip(2).map(Row::parse).collect();
    let mut used = vec![false; rows.len()];
    let links = links();
    for event in EVENTS {
        let event_name = name(event);
        // States that differ only in the facts follow each other, and the same rows cover them.
        for states in all_states().chunks(HANG_UPS.len() * FLAGS) {
            let covering: Vec<usize> = (0..rows.len())
                .filter(|row| rows[*row].covers(&event_name, &states[0]))
                .collect();
            for (state, link) in states
                .iter()
                .flat_map(|state| links.iter().map(move |link| (state, link)))
            {
                let speaking: Vec<usize> = covering
                    .iter()
                    .copied()
                    .filter(|row| rows[*row].facts.iter().all(|fact| holds(fact, state, link)))
                    .collect();
                let [row] = speaking[..] else {
                    panic!("rows {speaking:?} for {event:?} in {state:?} on {link}");
                };
                used[row] = true;
                let mut expected = *state;
                for change in &rows[row].changes {
                    change.make(&mut expected);
                }
                let mut after = *state;
                let next = after.on(link, event);
                let expected = (expected, follows(rows[row].cells[6], state));
                assert_eq!(expected, (after, next), "{event:?} in {state:?} on {link}");
            }
        }
    }
    let unused: Vec<_> = (0..rows.len()).filter(|row| !used[*row]).collect();
    assert!(unused.is_empty(), "no pair needs rows {unused:?}");
}

/// All transitions that a stream over `link` can make.
fn transitions(link: &Link) -> Vec<(State, Event, State, Next)> {
    let mut reached = vec![State::new(link)];
    let mut seen: HashSet<State> = reached.iter().copied().collect();
    let mut made = Vec::new();
    while let Some(state) = reached.pop() {
        for event in EVENTS {
            let mut after = state;
            let next = after.on(link, event);
            made.push((state, event, after, next));
            if seen.insert(after) {
                reached.push(after);
            }
        }
    }
    made
}

fn rank(stage: Stage) -> u8 {
    match stage {
        Stage::Open => 0,
        Stage::Leaving => 1,
        Stage::Closing(_) => 2,
        Stage::Told(_) => 3,
        Stage::Closed => 4,
    }
}

#[test]
fn a_stream_never_goes_back_and_tells_each_end_once() {
    for link in links() {
        for (before, event, after, next) in transitions(&link) {
            let pair = format!("{event:?} in {before:?} on {link}");
            assert!(rank(before.stage) <= rank(after.stage), "{pair}");
            let told = rank(before.stage) < 3 && rank(after.stage) == 3;
            assert_eq!(told, matches!(next, Next::TellEnd { .. }), "{pair}");
            let closed = rank(before.stage) < 4 && rank(after.stage) == 4;
            let closes = matches!(next, Next::CloseHandle(_));
            assert_eq!(closed && event != Event::Abandoned, closes, "{pair}");
            if before.reading == Reading::Ended {
                assert_eq!(after.reading, Reading::Ended, "{pair}");
            }
            if matches!(next, Next::TellReadEnd { .. }) {
                assert_ne!(before.reading, Reading::Ended, "{pair}");
                assert_eq!(after.reading, Reading::Ended, "{pair}");
            }
            if matches!(next, Next::EndWriting { .. }) {
                assert_eq!(before.writing, Writing::Finishing, "{pair}");
                assert_eq!(after.writing, Writing::Ended, "{pair}");
            }
        }
    }
}

#[test]
fn a_half_ends_by_its_own_events_until_the_stream_ends() {
    let ends_writing = [
        Event::LoseWrite,
        Event::Lose,
        Event::SendFailed,
        Event::Drained,
        Event::SendOver,
        Event::Abandoned,
    ];
    for link in links() {
        for (before, event, after, _) in transitions(&link) {
            let pair = format!("{event:?} in {before:?} on {link}");
            if before.writing != after.writing {
                assert!(ends_writing.contains(&event), "{pair}");
            }
            let only_writing = [
                Event::LoseWrite,
                Event::SendFailed,
                Event::Drained,
                Event::Abandoned,
            ];
            if only_writing.contains(&event) {
                assert_eq!(before.reading, after.reading, "{pair}");
            }
        }
    }
}

#[test]
fn nothing_is_delivered_in_a_pause_or_once_the_stream_is_to_end() {
    for link in links() {
        for (before, event, _, next) in transitions(&link) {
            let pair = format!("{event:?} in {before:?} on {link}");
            if matches!(next, Next::Deliver | Next::DeliverHeld) {
                assert!(!before.is_paused() && before.stage == Stage::Open, "{pair}");
                assert_ne!(before.reading, Reading::Ended, "{pair}");
            }
            if matches!(next, Next::TellReadEnd { .. } | Next::EndWriting { .. }) {
                assert_eq!(before.stage, Stage::Open, "{pair}");
            }
            if before.stage == Stage::Leaving {
                assert_ne!(before.writing, Writing::Open, "{pair}");
            }
            if rank(before.stage) > 2 {
                assert!(!before.takes_data(true), "{pair}");
            }
            if before.stage == Stage::Closed {
                assert!(
                    !before.wants_data(&link) && !before.wants_hang_up(&link),
                    "{pair}"
                );
            }
        }
    }
}

/// Draws the changes of one part of the state, as Mermaid's state diagrams have it. What ends with the reactor is not
/// drawn.
fn drawn<T: Copy + PartialEq + std::fmt::Debug>(first: T, part: impl Fn(&State) -> T) -> String {
    let mut edges: BTreeMap<(String, String), BTreeSet<usize>> = BTreeMap::new();
    for (before, event, after, _) in links().iter().flat_map(transitions) {
        let (from, to) = (outer(part(&before)), outer(part(&after)));
        if from != to && event != Event::Abandoned {
            let event = EVENTS.iter().position(|each| outer(each) == outer(event));
            edges.entry((from, to)).or_default().extend(event);
        }
    }
    let mut text = format!("stateDiagram-v2\n    [*] --> {first:?}\n");
    for ((from, to), events) in edges {
        let names: Vec<_> = events.into_iter().map(|at| outer(EVENTS[at])).collect();
        text += &format!("    {from} --> {to}: {}\n", names.join(", "));
    }
    text
}

/// The name of a value without what it contains.
fn outer(value: impl std::fmt::Debug) -> String {
    let full = name(value);
    full.split('/').next().unwrap_or_default().to_owned()
}

#[test]
fn the_drawings_in_the_architecture_agree() {
    let architecture = include_str!("../../../../../../ARCHITECTURE.md");
    let drawings = [
        drawn(Stage::Open, |state| state.stage),
        drawn(Reading::Flowing, |state| state.reading),
        drawn(Writing::Open, |state| state.writing),
    ];
    let missing: Vec<_> = drawings
        .into_iter()
        .filter(|drawing| !architecture.contains(&format!("```mermaid\n{drawing}```\n")))
        .collect();
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md should draw:\n{}",
        missing.concat()
    );
}
