use super::{
    Summary,
    parts::Parts,
    plan::{checkpoint_bytes, forward_flops, training_flops},
    resume::{Counters, DataPosition, FORMAT},
};
use crate::{
    Error, Result, Trainer,
    callback::{Callback, HeldOut, Milestones, Moment, Record},
    config::{RunConfig, due},
    log::{Line, Log, Means},
    stop::Stop,
    store::{Newest, Store},
    subject::Kind,
};
use candle_core::Device;
use diff_core::save::{atomic_bytes, remove};
use diff_models::checkpoint::{read_tensors, write_tensors};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

/// A run that could begin: nothing has been written yet.
pub(super) struct Prepared<'a, S: Kind> {
    config: &'a RunConfig,
    out: &'a Path,
    trainer: Trainer<S::Model>,
    subject: S,
    own: Vec<Box<dyn Callback>>,
    /// Name, SHA-256 and length of the data set.
    data: (String, String, usize),
}

/// A run under way.
pub(super) struct Session<'a, S: Kind> {
    run: Prepared<'a, S>,
    store: Store,
    record: Record,
    means: Means,
    /// Mean loss of the last log line.
    loss: Option<f64>,
    started: Instant,
    seconds_before: f64,
    resumed_at: Option<usize>,
}

impl<'a, S: Kind> Prepared<'a, S> {
    /// Everything that can be refused without a look at the run folder.
    pub(super) fn new(
        config: &'a RunConfig,
        out: &'a Path,
        parts: Parts<S>,
        device: &Device,
    ) -> Result<Self> {
        let data = &parts.data;
        let data = (data.name().to_string(), data.sha256().to_string(), data.len());
        let (trainer, mut subject) = parts.trainer(config, device)?;
        // Without the folder: the same recipe gives the same file wherever it is run.
        let recipe = RunConfig { out: None, ..config.clone() };
        let metadata = subject.metadata();
        metadata.insert("diff.config".into(), recipe.to_toml()?);
        metadata.insert("diff.data".into(), config.data.line()?);
        metadata.insert("diff.data_sha256".into(), data.1.clone());
        let mut own: Vec<Box<dyn Callback>> = Vec::new();
        if config.held_out.every > 0 {
            own.push(Box::new(HeldOut::new(config, &subject, device)?));
        }
        if let Some(previews) = subject.previews(config, out, device)? {
            own.push(Box::new(previews));
        }
        if config.save.keep_every > 0 {
            own.push(Box::new(Milestones::new(config.save.keep_every, out)));
        }
        Ok(Prepared { config, out, trainer, subject, own, data })
    }

    /// The run at step 0.
    pub(super) fn begin(self) -> Result<Session<'a, S>> {
        write_config(self.config, self.out)?;
        let log = Log::create(&self.out.join("log.jsonl"))?;
        let record = Record::new(self.out, log, &[], &self.config.to_toml()?)?;
        Ok(self.session(record))
    }

    /// The run as its checkpoint left it.
    pub(super) fn go_on(mut self, newest: &Newest) -> Result<Session<'a, S>> {
        let counters = Counters::read(&newest.folder)?;
        let (name, sha256, _) = &self.data;
        if counters.data.sha256 != *sha256 {
            return Err(Error::Input {
                path: newest.folder.clone(),
                message: format!(
                    "was trained on other pictures: sha256 {}, data set {name} now has {sha256}",
                    counters.data.sha256
                ),
            });
        }
        let state = read_tensors(&newest.folder.join("training/state.safetensors"))?;
        let weights = newest.folder.join("model").join(self.subject.weights_file());
        let averaged = read_tensors(&weights)?;
        self.trainer.restore(counters.step, state, averaged)?;
        // The checkpoint is good: from here on what lies beyond it goes.
        let (log, lines) = Log::resume(&self.out.join("log.jsonl"), counters.step)?;
        let record = Record::new(self.out, log, &lines, &self.config.to_toml()?)?;
        let mut session = self.session(record);
        session.store.set_aside(newest)?;
        // What the finished run wrote last is not of a longer one.
        if counters.step < session.run.config.train.steps {
            session.model_folders().iter().try_for_each(|(folder, _)| remove(folder))?;
        }
        write_config(session.run.config, session.run.out)?;
        session.means = counters.means;
        session.loss = counters.loss;
        session.seconds_before = counters.seconds;
        session.resumed_at = Some(counters.step);
        Ok(session)
    }

    fn session(self, record: Record) -> Session<'a, S> {
        Session {
            store: Store::new(self.out),
            run: self,
            record,
            means: Means::default(),
            loss: None,
            started: Instant::now(),
            seconds_before: 0.0,
            resumed_at: None,
        }
    }
}

impl<S: Kind> Session<'_, S> {
    /// The loop.
    pub(super) fn train(
        &mut self,
        stop: &Stop,
        callbacks: &mut [&mut dyn Callback],
    ) -> Result<Summary> {
        self.started = Instant::now();
        let mut saved_at = Instant::now();
        let mut saved = self.resumed_at;
        let mut stopped_by = stop.requested();
        while self.run.trainer.steps() < self.run.config.train.steps && stopped_by.is_none() {
            let before = self.run.trainer.images();
            self.step(callbacks)?;
            let minutes = self.run.config.save.minutes;
            let by_time = minutes > 0.0 && saved_at.elapsed().as_secs_f64() >= 60.0 * minutes;
            if by_time || due(before, self.run.trainer.images(), self.run.config.save.every) {
                self.save()?;
                saved = Some(self.run.trainer.steps());
                saved_at = Instant::now();
            }
            stopped_by = stop.requested();
        }
        if saved != Some(self.run.trainer.steps()) {
            self.save()?;
        }
        let finished = self.run.trainer.steps() >= self.run.config.train.steps;
        // `model/` is written last: where it is and nothing was trained, all are as they should be.
        let trained = self.resumed_at != Some(self.run.trainer.steps());
        if finished && (trained || !self.run.out.join("model").exists()) {
            self.write_models()?;
        }
        let forward_flops = forward_flops(self.run.config, &self.run.subject)?;
        let images = self.run.trainer.images();
        Ok(Summary {
            out: self.run.out.to_path_buf(),
            parameters: self.run.subject.params().numel(),
            steps: self.run.trainer.steps(),
            images,
            forward_flops,
            flops: training_flops(self.run.config, forward_flops, images as f64),
            loss: self.loss,
            held_out: self.held_out(),
            seconds: self.seconds(),
            resumed_at: self.resumed_at,
            stopped_by: stopped_by.filter(|_| !finished),
        })
    }

    fn step(&mut self, callbacks: &mut [&mut dyn Callback]) -> Result<()> {
        let before = self.run.trainer.images();
        let report = self.run.trainer.step()?;
        self.means.add(report.loss, report.grad_norm, &report.parts);
        let settings = &self.run.config.train;
        if report.step.is_multiple_of(settings.log_every) || report.step == settings.steps {
            let (images, seconds) = (self.run.trainer.images(), self.seconds());
            let line = self.means.take(report.step, images, report.lr, seconds);
            self.loss = Some(line.loss);
            self.record.write(Line::Steps(line))?;
        }
        let moment = Moment {
            subject: &self.run.subject,
            averages: self.run.trainer.averages(),
            report: &report,
            images: self.run.trainer.images(),
            images_before: before,
        };
        let own = self.run.own.iter_mut().map(|callback| callback.as_mut() as &mut dyn Callback);
        for callback in own {
            callback.after_step(&moment, &mut self.record)?;
        }
        for callback in callbacks {
            callback.after_step(&moment, &mut self.record)?;
        }
        Ok(())
    }

    /// The parts of the last held-out loss.
    fn held_out(&self) -> Option<BTreeMap<String, f64>> {
        let parts = &self.record.held_out()?.held_out_parts;
        Some(parts.iter().filter_map(|(name, v)| Some((name.clone(), v.as_f64()?))).collect())
    }

    /// Seconds of training so far.
    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    fn save(&mut self) -> Result<()> {
        // What the checkpoint counts on must be there before it is.
        self.record.sync()?;
        let counters = self.counters()?;
        let bytes = checkpoint_bytes(self.run.config, self.run.subject.params().numel());
        let (trainer, subject) = (&self.run.trainer, &self.run.subject);
        self.store.save(trainer.images(), bytes, |folder| {
            subject.write(&folder.join("model"), trainer.ema_weights(), trainer.steps())?;
            let training = folder.join("training");
            write_tensors(&training.join("state.safetensors"), &trainer.state())?;
            Ok(atomic_bytes(&training.join("state.json"), counters.as_bytes())?)
        })?;
        self.store.prune(self.run.config.save.last)
    }

    fn counters(&self) -> Result<String> {
        let (_, sha256, pictures) = self.run.data.clone();
        let images = self.run.trainer.images();
        let (epoch, position) = (images / pictures, images % pictures);
        let counters = Counters {
            format: FORMAT.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            step: self.run.trainer.steps(),
            images,
            seed: self.run.config.seed,
            seconds: self.seconds(),
            data: DataPosition { sha256, pictures, epoch, position },
            means: self.means.clone(),
            loss: self.loss,
        };
        let text = serde_json::to_string_pretty(&counters).map_err(|e| Error::Input {
            path: self.run.out.to_path_buf(),
            message: format!("counters: {e}"),
        })?;
        Ok(text + "\n")
    }

    /// The folders of the finished models, that of the run last, with the average each one holds.
    fn model_folders(&self) -> Vec<(PathBuf, usize)> {
        let averages = self.run.trainer.averages().iter().enumerate();
        let mut folders: Vec<_> = averages
            .map(|(i, average)| match i {
                0 => (self.run.out.join("model"), 0),
                _ => (self.run.out.join(format!("model-ema-{}", average.decay())), i),
            })
            .collect();
        folders.rotate_left(1);
        folders
    }

    fn write_models(&self) -> Result<()> {
        let trainer = &self.run.trainer;
        for (folder, i) in self.model_folders() {
            self.run.subject.write(&folder, trainer.averages()[i].weights(), trainer.steps())?;
        }
        Ok(())
    }
}

fn write_config(config: &RunConfig, out: &Path) -> Result<()> {
    Ok(atomic_bytes(&out.join("config.toml"), config.to_toml()?.as_bytes())?)
}
