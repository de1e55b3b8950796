//! Which of the things in a file is the state dict to sample with.

use super::{
    tensor::{Stored, is_tensor},
    value::{FIRST, Node, Value},
};
use crate::error::{Error, Result};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

/// Keys under which averaged weights are kept.
const AVERAGED: [&str; 2] = ["ema", "ema_state_dict"];
/// Keys under which the weights in training are kept.
const RAW: [&str; 4] = ["model_state_dict", "model_dict", "state_dict", "model"];
/// Bytes of a tensor's name.
const NAME: usize = 1 << 10;
/// Tensors in a list. A file can name one tensor any number of times, each with a number of its own.
const NUMBERED: usize = 1 << 12;
/// Entries that a message lists.
const LISTED: usize = 12;

/// A state dict, and what the user should know of the choice.
pub(super) struct Chosen<'a> {
    pub(super) state: BTreeMap<Cow<'a, str>, Node<'a>>,
    pub(super) note: Option<String>,
}

/// Finds the state dict: the only one, or the averages of a training checkpoint.
///
/// # Errors
/// Lists what there is, when it cannot be told which is meant.
pub(super) fn choose(root: Node) -> Result<Chosen> {
    match root.value() {
        Value::List(_) | Value::Tuple(_) => in_list(root),
        Value::Dict(_) => in_dict(root),
        _ => refuse(root, "no state dict in it"),
    }
}

/// Tensors and nothing else (piq's heads), or what ermongroup/ddim saves: `[model, optimiser, epoch, step,
/// averages]`, the last if it has them.
fn in_list(root: Node) -> Result<Chosen> {
    if let Some(state) = numbered(root) {
        return Ok(Chosen { state, note: None });
    }
    let items: Vec<Node> = root.items().into_iter().flatten().take(FIRST).collect();
    let places: Vec<usize> = (0..items.len()).filter(|&i| is_state(items[i])).collect();
    match (places.as_slice(), items.len()) {
        (&[0, 4], 5) => chosen(items[4], None),
        (&[only], count) => {
            let note =
                format!("no averaged weights in its list of {count}; these are item {only}'s");
            chosen(items[only], (count > 1).then_some(note))
        }
        ([], _) => refuse(root, "no state dict in it"),
        _ => refuse(root, "several state dicts in it"),
    }
}

/// The tensors of a list that has nothing else and is not too long, under the names "0", "1" and so on.
fn numbered<'a>(root: Node<'a>) -> Option<BTreeMap<Cow<'a, str>, Node<'a>>> {
    let items = root.items()?;
    if !(1..=NUMBERED).contains(&items.len()) {
        return None;
    }
    let named = |(place, item)| is_tensor(item).then(|| (Cow::Owned(format!("{place}")), item));
    items.enumerate().map(named).collect()
}

fn in_dict(root: Node) -> Result<Chosen> {
    let nested = |(_, value)| is_state(value);
    if is_state(root) && !root.pairs().into_iter().flatten().any(nested) {
        return chosen(root, None);
    }
    // `ema: 0.9999` is how averages are made, not what they are.
    let averages = entries(root, &AVERAGED, |value| !is_setting(value));
    match averages.as_slice() {
        [] => {}
        [(_, averages)] if is_state(*averages) => return chosen(*averages, None),
        [(name, _)] => return refuse(root, &format!("{name} is no state dict")),
        _ => return refuse(root, "several averages in it"),
    }
    match entries(root, &RAW, is_state).as_slice() {
        [] => refuse(root, "no state dict in it"),
        [(name, model)] => of_training(name, *model, root.entry("optimizer")),
        _ => refuse(root, "several state dicts in it"),
    }
}

/// The entries of a dict that have one of the names, and are of the kind asked for.
fn entries<'a>(
    root: Node<'a>,
    names: &[&'static str],
    kind: impl Fn(Node<'a>) -> bool,
) -> Vec<(&'static str, Node<'a>)> {
    let found = names.iter().filter_map(|&name| Some((name, root.entry(name)?)));
    found.filter(|(_, value)| kind(*value)).collect()
}

/// SA-DPM's optimiser keeps the average of each parameter, in the order of the model's.
fn of_training<'a>(name: &str, model: Node<'a>, optimizer: Option<Node<'a>>) -> Result<Chosen<'a>> {
    let Some(optimizer) = optimizer else { return chosen(model, None) };
    let parameters = tensors(model)?;
    let Some(averages) = averages(optimizer, parameters.len())? else {
        let note = format!("the optimizer keeps no averages (ema); these are {name}'s weights");
        return chosen(model, Some(note));
    };
    let mut state = BTreeMap::new();
    for ((key, parameter), average) in parameters.into_iter().zip(averages) {
        let fault = |message| Error::Input(format!("{key}: {message}"));
        let expected = Stored::read(parameter).map_err(|e| fault(e.to_string()))?;
        let found = Stored::read(average).map_err(|e| fault(format!("ema: {e}")))?;
        if expected.shape() != found.shape() {
            return Err(fault(format!(
                "expected shape {:?}, found {:?} in the optimizer's average (ema)",
                expected.shape(),
                found.shape()
            )));
        }
        state.insert(key.into(), average);
    }
    Ok(Chosen { state, note: None })
}

/// The averages that an optimiser's state dict keeps of `count` parameters, in their order.
fn averages(optimizer: Node, count: usize) -> Result<Option<Vec<Node>>> {
    let groups = optimizer.entry("param_groups").and_then(Node::items).into_iter().flatten();
    let order = groups
        .flat_map(|group| group.entry("params").and_then(Node::items).into_iter().flatten())
        .map(Node::int)
        .take(count.saturating_add(1));
    let order: Vec<i64> = order.collect::<Option<_>>().unwrap_or_default();
    let state = optimizer.entry("state").and_then(Node::pairs).into_iter().flatten();
    let state: HashMap<i64, Node> = state.filter_map(|(key, v)| Some((key.int()?, v))).collect();
    let found: Vec<Node> =
        order.iter().filter_map(|parameter| state.get(parameter)?.entry("ema")).collect();
    match found.len() {
        0 => Ok(None),
        all if all == count && order.len() == count => Ok(Some(found)),
        _ => Err(Error::Input(format!(
            "the optimizer's averages (ema) are not those of {count} parameters, as the model has"
        ))),
    }
}

fn chosen(state: Node, note: Option<String>) -> Result<Chosen> {
    let state = tensors(state)?.into_iter().map(|(name, tensor)| (name.into(), tensor));
    Ok(Chosen { state: state.collect(), note })
}

/// Names and tensors of a dict, in its order; what is no tensor is left out.
fn tensors<'a>(state: Node<'a>) -> Result<Vec<(&'a str, Node<'a>)>> {
    let tensors = state.pairs().into_iter().flatten().filter(|(_, value)| is_tensor(*value));
    tensors
        .map(|(key, value)| match key.text() {
            Some(name) if name.len() <= NAME => Ok((name, value)),
            _ => Err(Error::Input(format!("a tensor under {}, expected a name", shown(key)))),
        })
        .collect()
}

/// True for a dict that holds tensors.
fn is_state(node: Node) -> bool {
    node.pairs().is_some_and(|pairs| pairs.take(FIRST).any(|(_, value)| is_tensor(value)))
}

/// True for a single number, flag or text.
fn is_setting(node: Node) -> bool {
    !matches!(node.value(), Value::Dict(_) | Value::List(_) | Value::Tuple(_) | Value::Call { .. })
}

fn refuse<T>(root: Node, why: &str) -> Result<T> {
    let mut parts: Vec<String> = match root.value() {
        Value::List(_) | Value::Tuple(_) => {
            root.items().into_iter().flatten().take(LISTED).map(kind).collect()
        }
        Value::Dict(_) => {
            let pairs = root.pairs().into_iter().flatten().take(LISTED);
            pairs.map(|(key, value)| format!("{}: {}", shown(key), kind(value))).collect()
        }
        _ => Vec::new(),
    };
    let count =
        root.items().map_or(0, |items| items.len()).max(root.pairs().map_or(0, Iterator::count));
    if count > parts.len() {
        parts.push(format!("{} more", count - parts.len()));
    }
    let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    Err(Error::Input(format!(
        "{why}: found {}{parts}; expected a dict of tensors by name, one below {} or {}, a list \
         of tensors, or ermongroup/ddim's list",
        kind(root),
        AVERAGED.join(", "),
        RAW.join(", "),
    )))
}

/// A key as messages show it.
fn shown(key: Node) -> String {
    const LONGEST: usize = 40;
    match key.value() {
        Value::Text(text) => format!("{:?}", text.chars().take(LONGEST).collect::<String>()),
        Value::Int(number) => number.to_string(),
        _ => kind(key),
    }
}

/// What a value is, in a few words.
fn kind(node: Node) -> String {
    match node.value() {
        _ if is_tensor(node) => "a tensor".into(),
        _ if is_state(node) => "a state dict".into(),
        Value::None => "None".into(),
        Value::Bool(_) => "a bool".into(),
        Value::Int(_) | Value::Long(_) => "an int".into(),
        Value::Text(_) => "a text".into(),
        Value::Global(name) => format!("the name {name}"),
        Value::Tuple(items) => format!("a tuple of {}", items.len()),
        Value::List(items) => format!("a list of {}", items.len()),
        Value::Dict(pairs) => format!("a dict of {} without tensors", pairs.len()),
        Value::Call { .. } => match node.call() {
            Some((name, _)) => format!("a call of {name}, which is not made"),
            None => "a call, which is not made".into(),
        },
        Value::Persistent(_) => "a storage".into(),
        Value::Other(name) => format!("a {name}"),
    }
}
