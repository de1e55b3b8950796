//! Being asked to stop: the signals that end a run without losing anything.

use crate::Result;
use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// Why a run was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, or Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGUSR1: batch systems send it ahead of the end of a job.
    User,
}

impl Signal {
    const ALL: [Signal; 3] = [Signal::Interrupt, Signal::Terminate, Signal::User];

    /// The exit code of a process that it ended.
    pub fn exit_code(self) -> u8 {
        match self {
            Signal::Interrupt => 130,
            Signal::Terminate => 143,
            Signal::User => 0,
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Interrupt => "SIGINT",
            Signal::Terminate => "SIGTERM",
            Signal::User => "SIGUSR1",
        }
    }
}

/// A request to stop, which a run looks at after every step.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicU8>);

impl Stop {
    /// Nothing has been asked yet, and only [`Stop::request`] will.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the process's signals ask. The second one ends the process at once.
    ///
    /// # Errors
    /// When the system does not let them be heard.
    pub fn on_signals() -> Result<Self> {
        let stop = Stop::new();
        let heard = stop.clone();
        let failed = |e: std::io::Error| diff_core::save::io_error("signals".as_ref(), "hear")(e);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let signals = {
            let _inside = runtime.enter();
            Signals::new().map_err(failed)?
        };
        std::thread::spawn(move || runtime.block_on(listen(signals, heard)));
        Ok(stop)
    }

    /// Asks the run to stop; the first reason counts.
    pub fn request(&self, signal: Signal) {
        let code = 1 + Signal::ALL.iter().position(|s| *s == signal).unwrap_or(0) as u8;
        let _ = self.0.compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Why the run should stop, if it should.
    pub fn requested(&self) -> Option<Signal> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            code => Signal::ALL.get(code as usize - 1).copied(),
        }
    }
}

async fn listen(mut signals: Signals, stop: Stop) {
    loop {
        let signal = signals.next().await;
        if stop.requested().is_some() && signal != Signal::User {
            std::process::exit(signal.exit_code().into());
        }
        stop.request(signal);
        eprintln!("{}: saving after this step; a second signal stops at once", signal.name());
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    user: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.user.recv() => Signal::User,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals)
    }

    async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            // Without a way to hear Ctrl-C there is nothing to wait for.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_counts() {
        let stop = Stop::new();
        assert_eq!(stop.requested(), None);
        stop.request(Signal::Terminate);
        stop.request(Signal::Interrupt);
        assert_eq!(stop.clone().requested(), Some(Signal::Terminate));
        assert_eq!(Signal::ALL.map(Signal::exit_code), [130, 143, 0]);
    }
}
