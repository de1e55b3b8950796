//! Cells side by side: a cell starts when its inputs are there and a worker is free.

use super::{
    cell::{self, Bench, Finished, Outcome},
    demand,
    plan::Cell,
};
use anyhow::{Error, Result};
use std::{
    io::{self, IsTerminal},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Runs the wanted cells with up to `jobs` of them at a time, and tells on stderr how they end. What
/// is not wanted is only looked for.
///
/// # Errors
/// Those of the surroundings; what was running is waited for, nothing more is begun.
pub(crate) fn run(
    cells: &[Cell],
    wanted: &[bool],
    bench: &Bench,
    jobs: usize,
) -> Result<Vec<Outcome>> {
    let board = Board {
        cells,
        wanted,
        whole: demand::whole(cells, wanted, bench)?,
        state: Mutex::new(State {
            outcomes: cells.iter().map(|_| None).collect(),
            running: Vec::new(),
            done: 0,
            fault: None,
        }),
        changed: Condvar::new(),
    };
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| board.work(bench));
        }
        board.watch();
    });
    let state = board.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.fault {
        Some(fault) => Err(fault),
        None => Ok(state.outcomes.into_iter().flatten().collect()),
    }
}

/// What the workers share.
struct Board<'a> {
    cells: &'a [Cell],
    wanted: &'a [bool],
    /// Which cells have to be there with all their files.
    whole: Vec<bool>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    outcomes: Vec<Option<Outcome>>,
    /// Cells under way, and since when.
    running: Vec<(usize, Instant)>,
    done: usize,
    fault: Option<Error>,
}

/// What a worker does next.
enum Next {
    Run(usize),
    Skip(usize, String),
    Leave(usize),
    Wait,
    Stop,
}

impl Board<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A worker that panicked has left no outcome; the others may finish what they do.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, bench: &Bench) {
        let mut state = self.lock();
        loop {
            match self.next(&state) {
                Next::Stop => break,
                Next::Wait => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Next::Leave(i) => self.settle(&mut state, i, Outcome::Absent),
                Next::Skip(i, reason) => self.settle(&mut state, i, Outcome::Skipped(reason)),
                Next::Run(i) => {
                    state.running.push((i, Instant::now()));
                    let inputs: Vec<Finished> = self.cells[i]
                        .inputs
                        .iter()
                        .filter_map(|input| state.outcomes[*input].as_ref()?.finished().cloned())
                        .collect();
                    drop(state);
                    let result = match self.wanted[i] {
                        true => cell::run(&self.cells[i], &inputs, self.whole[i], bench),
                        false => cell::find(&self.cells[i], &inputs, bench),
                    };
                    state = self.lock();
                    state.running.retain(|(running, _)| *running != i);
                    match result {
                        Ok(outcome) => self.settle(&mut state, i, outcome),
                        Err(fault) => {
                            state.fault.get_or_insert(fault.context(self.cells[i].name.clone()));
                        }
                    }
                    self.changed.notify_all();
                }
            }
        }
        self.changed.notify_all();
    }

    /// The first cell that can be settled, in the order of the plan.
    fn next(&self, state: &State) -> Next {
        if state.fault.is_some() || state.done == self.cells.len() {
            return Next::Stop;
        }
        for (i, cell) in self.cells.iter().enumerate() {
            if state.outcomes[i].is_some() || state.running.iter().any(|(r, _)| *r == i) {
                continue;
            }
            let inputs = || cell.inputs.iter().map(|input| (*input, &state.outcomes[*input]));
            let missing = inputs().find(|(_, outcome)| {
                outcome.as_ref().is_some_and(|outcome| outcome.finished().is_none())
            });
            if let Some((_, Some(Outcome::Absent))) = missing {
                return Next::Leave(i);
            }
            if let Some((input, _)) = missing {
                let name = &self.cells[input].name;
                return Next::Skip(i, format!("it starts from {name}, which is missing"));
            }
            if inputs().all(|(_, outcome)| outcome.is_some()) {
                return Next::Run(i);
            }
        }
        Next::Wait
    }

    fn settle(&self, state: &mut State, i: usize, outcome: Outcome) {
        state.done += 1;
        let digits = self.cells.len().to_string().len();
        let name = &self.cells[i].name;
        let label = format!("[{:>digits$}/{}] {name:<36}", state.done, self.cells.len());
        clear_line();
        match &outcome {
            Outcome::Done(done) if done.reused => eprintln!("{label} {:>8}", "reused"),
            Outcome::Done(done) => eprintln!("{label} {:>6.1} s", done.record.seconds),
            Outcome::Failed(reason) => eprintln!("{label} {:>8}: {reason}", "FAILED"),
            Outcome::Skipped(reason) => eprintln!("{label} {:>8}: {reason}", "skipped"),
            Outcome::Absent => {}
        }
        state.outcomes[i] = Some(outcome);
    }

    /// Shows on a terminal what is under way, until all is done.
    fn watch(&self) {
        let mut state = self.lock();
        while state.fault.is_none() && state.done < self.cells.len() {
            if io::stderr().is_terminal() {
                let under_way: Vec<String> = state
                    .running
                    .iter()
                    .map(|(i, since)| {
                        format!("{} {} s", self.cells[*i].name, since.elapsed().as_secs())
                    })
                    .collect();
                if !under_way.is_empty() {
                    eprint!("\r\x1b[K{}", under_way.join(", "));
                }
            }
            let second = Duration::from_secs(1);
            let waited = self.changed.wait_timeout(state, second);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        clear_line();
    }
}

fn clear_line() {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}
