//! Differentiation of our operations.
//!
//! candle adds every gradient to zeros that it makes for the purpose, which touches the memory of a
//! gradient four times over. Our operations are therefore kept on a tape, and a whole tape, be it
//! of a network ([`record`]) or of a single operation, is one operation in candle's graph.

use super::{
    add,
    cpu::Real,
    process::within,
    profile::{Pass, noted},
};
use crate::error::{Error, Result};
use candle_core::{
    CpuStorage, CustomOp3, DType, Layout, Shape, Tensor, TensorId, backprop::GradStore,
};
use std::{
    cell::RefCell,
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

/// An operation with a gradient. Its inputs are contiguous, on the CPU and of one number type.
pub(super) trait Operation: Send + Sync + 'static {
    /// Whether the gradient needs the result.
    fn keeps_output(&self) -> bool {
        false
    }

    /// Which inputs are a network's own numbers. Where those take no gradient they are constants.
    fn parameters(&self) -> Range<usize> {
        0..0
    }

    /// Names it in errors and profiles.
    fn name(&self) -> &'static str;

    /// Multiply-adds by the definition, of a product with its two matrices: of the result, or of
    /// the gradients that are wanted. None where they do not count.
    fn multiply_adds(&self, _inputs: &[Tensor], _wanted: Option<&[bool]>) -> u64 {
        0
    }

    /// The result.
    fn forward<T: Real>(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor>;

    /// The gradients of the inputs; of those that are wanted at least.
    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>>;
}

/// What an operation's gradient is made of.
pub(super) struct Step<'a> {
    pub(super) inputs: &'a [Tensor],
    /// Which inputs' gradients are used.
    pub(super) wanted: &'a [bool],
    /// The gradient of the result, contiguous.
    pub(super) dy: &'a Tensor,
    output: Option<&'a Tensor>,
}

impl Step<'_> {
    /// The result, for an operation that keeps it.
    pub(super) fn output(&self) -> candle_core::Result<&Tensor> {
        self.output.ok_or_else(|| candle_core::Error::msg("the result was not kept"))
    }
}

/// [`Operation`] behind a pointer.
trait Differentiable: Send + Sync {
    fn gradients(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>>;
}

impl<O: Operation> Differentiable for O {
    fn gradients(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let of: Vec<&Tensor> = step.inputs.iter().collect();
        let multiply_adds = || self.multiply_adds(step.inputs, Some(step.wanted));
        noted((self.name(), Pass::Backward), &of, multiply_adds, || match step.dy.dtype() {
            DType::F32 => self.backward::<f32>(step),
            _ => self.backward::<f64>(step),
        })
    }
}

/// The result of `op`, connected to its inputs.
///
/// # Errors
/// When the inputs are of different number types, or of one that is not computed with.
pub(super) fn apply<O: Operation>(op: O, inputs: &[&Tensor]) -> Result<Tensor> {
    let types: Vec<DType> = inputs.iter().map(|x| x.dtype()).collect();
    if types.iter().any(|dtype| *dtype != types[0] || !matches!(dtype, DType::F32 | DType::F64)) {
        let name = op.name();
        return Err(Error::Input(format!(
            "{name}: {types:?}: expected one number type, F32 or F64"
        )));
    }
    let given = inputs;
    let inputs = given.iter().map(|x| x.contiguous()).collect::<candle_core::Result<Vec<_>>>()?;
    let multiply_adds = || op.multiply_adds(&inputs, None);
    let output = noted((op.name(), Pass::Forward), given, multiply_adds, || match types[0] {
        DType::F32 => op.forward::<f32>(&inputs),
        _ => op.forward::<f64>(&inputs),
    })?;
    RECORDING.with_borrow_mut(|recording| match recording {
        Some(tape) => {
            tape.push(op, inputs, &output)?;
            Ok(output)
        }
        None if inputs.iter().any(Tensor::track_op) => {
            let mut tape = Tape::from_inputs(inputs.iter());
            tape.push(op, inputs, &output)?;
            tape.bind(output)
        }
        None => Ok(output),
    })
}

thread_local! {
    /// The tape of the network that is running.
    static RECORDING: RefCell<Option<Tape>> = const { RefCell::new(None) };
    /// Where [`backward`] collects the gradients of variables.
    static COLLECTED: RefCell<Option<HashMap<TensorId, Tensor>>> = const { RefCell::new(None) };
}

/// Runs a network as one operation on `inputs` and on the variables it uses.
///
/// Within `network`, tensors may go through the operations of this module only; a candle operation
/// in between would cut the gradient and is refused where its result is used. On devices other than
/// the CPU, `network` runs as it is. The gradient can be taken once.
///
/// # Errors
/// Those of `network`, and a tensor within it that comes from elsewhere.
pub fn record(
    inputs: &[&Tensor],
    network: impl FnOnce() -> Result<Tensor> + Send,
) -> Result<Tensor> {
    if inputs.iter().any(|x| !x.device().is_cpu() || x.elem_count() == 0) {
        return network();
    }
    within(|| recorded(inputs, network))
}

fn recorded(inputs: &[&Tensor], network: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
    if RECORDING.with_borrow(Option::is_some) {
        return network();
    }
    /// Leaves nothing behind, whatever happens.
    struct Recording;
    impl Drop for Recording {
        fn drop(&mut self) {
            RECORDING.set(None);
        }
    }
    RECORDING.set(Some(Tape::from_inputs(inputs.iter().copied())));
    let recording = Recording;
    let output = network()?;
    let tape = RECORDING.take();
    drop(recording);
    match tape {
        Some(tape) => tape.bind(output),
        None => Ok(output),
    }
}

/// Operations in the order in which they ran.
struct Tape {
    /// Every tensor that was met, and whether gradients flow to it.
    known: HashMap<TensorId, bool>,
    /// Where gradients end up.
    leaves: Vec<Tensor>,
    nodes: Vec<Node>,
}

struct Node {
    op: Box<dyn Differentiable>,
    inputs: Vec<Tensor>,
    wanted: Vec<bool>,
    id: TensorId,
    output: Option<Tensor>,
}

impl Tape {
    fn from_inputs<'a>(inputs: impl Iterator<Item = &'a Tensor>) -> Self {
        let mut tape = Tape { known: HashMap::new(), leaves: Vec::new(), nodes: Vec::new() };
        for x in inputs {
            if tape.known.insert(x.id(), x.track_op()).is_none() && x.track_op() {
                tape.leaves.push(x.clone());
            }
        }
        tape
    }

    fn push<O: Operation>(&mut self, op: O, inputs: Vec<Tensor>, output: &Tensor) -> Result<()> {
        let name = op.name();
        let own = op.parameters();
        let follows = |(i, x): (usize, &Tensor)| self.follows(name, x, own.contains(&i));
        let wanted = inputs.iter().enumerate().map(follows).collect::<Result<Vec<_>>>()?;
        let any = wanted.contains(&true);
        self.known.insert(output.id(), any);
        if any {
            let kept = op.keeps_output().then(|| output.clone());
            let op = Box::new(op);
            self.nodes.push(Node { op, inputs, wanted, id: output.id(), output: kept });
        }
        Ok(())
    }

    /// Whether gradients flow to `x`, which is or is not one of the network's own numbers.
    fn follows(&mut self, name: &str, x: &Tensor, own: bool) -> Result<bool> {
        if let Some(known) = self.known.get(&x.id()) {
            return Ok(*known);
        }
        if x.is_variable() {
            self.leaves.push(x.clone());
        } else if x.track_op() || !(own || self.nodes.is_empty()) {
            return Err(Error::Input(format!(
                "{name}: an input of shape {:?} comes from an operation that is not recorded: its \
                 gradient would be lost",
                x.dims()
            )));
        }
        self.known.insert(x.id(), x.is_variable());
        Ok(x.is_variable())
    }

    /// Makes `output` a result of the leaves in candle's graph.
    fn bind(mut self, output: Tensor) -> Result<Tensor> {
        if !self.follows("record", &output, false)? || self.nodes.is_empty() {
            return Ok(output);
        }
        let tape = Mutex::new(Some((self.nodes, output.id())));
        let shared = Arc::new(Shared { tape, gradients: Mutex::default() });
        let mut sources = self.leaves;
        // candle's operations have three inputs at most: a tree of them.
        while sources.len() > 3 {
            let gather = |sources: &[Tensor]| gathered(sources, None, shared.clone());
            sources = sources.chunks(3).map(gather).collect::<Result<_>>()?;
        }
        gathered(&sources, Some(output), shared)
    }
}

/// The gradients of a tape, on their way to candle.
struct Shared {
    /// With the result whose gradient comes in; taken when it does.
    tape: Mutex<Option<(Vec<Node>, TensorId)>>,
    gradients: Mutex<HashMap<TensorId, Tensor>>,
}

impl Shared {
    /// Runs the tape backwards from the gradient of its result.
    fn run(&self, dy: Tensor) -> candle_core::Result<()> {
        let tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((mut nodes, output)) = tape else {
            candle_core::bail!("the gradient of this result was taken before")
        };
        let mut gradients = HashMap::from([(output, dy)]);
        while let Some(node) = nodes.pop() {
            let Some(dy) = gradients.remove(&node.id) else { continue };
            let Node { op, inputs, wanted, output, .. } = &node;
            let step = Step { inputs, wanted, dy: &dy, output: output.as_ref() };
            let each = inputs.iter().zip(wanted).zip(op.gradients(&step)?);
            for ((x, wanted), gradient) in each {
                if let (true, Some(gradient)) = (wanted, gradient) {
                    join(&mut gradients, x.id(), gradient)?;
                }
            }
        }
        *self.gradients.lock().unwrap_or_else(PoisonError::into_inner) = gradients;
        Ok(())
    }

    /// The gradient of `leaf` for candle: none where it is collected, or where there is none.
    fn take(&self, leaf: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let mut gradients = self.gradients.lock().unwrap_or_else(PoisonError::into_inner);
        let gradient = gradients.remove(&leaf.id());
        if !leaf.is_variable() {
            // candle goes on from here and wants something to go on with.
            return Ok(Some(gradient.map_or_else(|| leaf.zeros_like(), Ok)?));
        }
        COLLECTED.with_borrow_mut(|collected| match (collected, gradient) {
            (Some(collected), Some(gradient)) => {
                join(collected, leaf.id(), gradient)?;
                Ok(None)
            }
            (_, gradient) => Ok(gradient),
        })
    }
}

/// Adds a gradient to what is known of it.
fn join(
    gradients: &mut HashMap<TensorId, Tensor>,
    id: TensorId,
    gradient: Tensor,
) -> candle_core::Result<()> {
    let sum = match gradients.remove(&id) {
        None => gradient,
        Some(sum) => add(&sum, &gradient).map_err(candle_core::Error::wrap)?,
    };
    gradients.insert(id, sum);
    Ok(())
}

/// In candle's graph: one to three sources of a tape, and its result or, within the tree, nothing.
struct Gather {
    output: Option<Tensor>,
    shared: Arc<Shared>,
}

fn gathered(sources: &[Tensor], output: Option<Tensor>, shared: Arc<Shared>) -> Result<Tensor> {
    let [first, ..] = sources else {
        return Err(Error::Input("nothing to differentiate by".into()));
    };
    let second = sources.get(1).unwrap_or(first);
    let third = sources.get(2).unwrap_or(first);
    Ok(first.apply_op3(second, third, Gather { output, shared })?)
}

impl CustomOp3 for Gather {
    fn name(&self) -> &'static str {
        "recorded"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let Some(output) = &self.output else {
            return Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)));
        };
        let values = match output.dtype() {
            DType::F32 => CpuStorage::F32(output.flatten_all()?.to_vec1()?),
            _ => CpuStorage::F64(output.flatten_all()?.to_vec1()?),
        };
        Ok((values, output.shape().clone()))
    }

    fn bwd(
        &self,
        first: &Tensor,
        second: &Tensor,
        third: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        if self.output.is_some() {
            self.shared.run(dy.contiguous()?)?;
        }
        let once = |x: &Tensor, others: &[&Tensor]| match others.iter().any(|o| o.id() == x.id()) {
            true => Ok(None),
            false => self.shared.take(x),
        };
        Ok((once(first, &[])?, once(second, &[first])?, once(third, &[first, second])?))
    }
}

/// The gradients of a scalar.
pub struct Derivatives {
    collected: HashMap<TensorId, Tensor>,
    others: GradStore,
}

impl Derivatives {
    /// That of a variable, if the scalar depends on it.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn take(&mut self, variable: &Tensor) -> Result<Option<Tensor>> {
        match (self.collected.remove(&variable.id()), self.others.remove(variable)) {
            (Some(a), Some(b)) => Ok(Some((a + b)?)),
            (a, b) => Ok(a.or(b)),
        }
    }
}

/// Differentiates a scalar; what `loss.backward()` does, but without a detour for the variables of
/// recorded networks.
///
/// # Errors
/// When a tensor operation fails.
pub fn backward(loss: &Tensor) -> Result<Derivatives> {
    within(|| {
        COLLECTED.set(Some(HashMap::new()));
        let others = loss.backward();
        let collected = COLLECTED.take().unwrap_or_default();
        Ok(Derivatives { collected, others: others? })
    })
}

#[cfg(test)]
pub(in crate::ops) mod compare;
#[cfg(test)]
mod tests;
