//! Pickle streams read as data: what a stream says to call is noted, and nothing is called.
//!
//! Values lie in one list and refer to each other by place. So a value that a stream uses twice is
//! there once, a list may hold itself, and nothing recurses, however deep a stream nests.

use super::{
    stream::{NAME, Stream},
    value::{Id, Pickle, Value},
};
use crate::error::{Error, Result};
use std::{collections::HashMap, io::BufRead};

/// Operations a stream may have. Each makes at most one value, so that this bounds memory; a training
/// checkpoint with thousands of tensors has some hundred thousand.
const OPERATIONS: usize = 1 << 22;

/// Reads one stream, up to its end and no further.
///
/// # Errors
/// When it ends early, has operations that no binary protocol has, or does what Python would refuse.
pub(super) fn read<R: BufRead>(reader: R) -> Result<Pickle> {
    let mut machine = Machine {
        stream: Stream(reader),
        left: OPERATIONS,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    loop {
        let operation = machine.stream.byte()?;
        if operation == b'.' {
            let root = machine.pop()?;
            return Ok(Pickle::new(machine.values, root));
        }
        machine.spend(1)?;
        machine.run(operation)?;
    }
}

fn fault<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Input(message.into()))
}

struct Machine<R> {
    stream: Stream<R>,
    /// Operations left.
    left: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack at which groups of values begin.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<R: BufRead> Machine<R> {
    /// Runs an operation; the names are those of Python's `pickletools`.
    fn run(&mut self, operation: u8) -> Result<()> {
        match operation {
            0x80 => drop(self.stream.byte()?),       // PROTO
            0x95 => drop(self.stream.array::<8>()?), // FRAME
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.group()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }

            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool(operation == 0x88)), // NEWTRUE, NEWFALSE
            b'J' | b'K' | b'M' => {
                let number = match operation {
                    b'J' => i32::from_le_bytes(self.stream.array()?).into(),
                    b'K' => self.stream.byte()?.into(),
                    _ => u16::from_le_bytes(self.stream.array()?).into(),
                };
                self.push(Value::Int(number));
            }
            0x8a | 0x8b => {
                // LONG1, LONG4
                let length = self.length(operation == 0x8a)?;
                let bytes = self.stream.bytes(length)?;
                self.push(whole_number(bytes));
            }
            b'G' => {
                self.stream.skip(8)?;
                self.push(Value::Other("float"));
            }

            // SHORT_BINUNICODE, and the strings in which Python 2 wrote names.
            0x8c | b'U' | b'X' | b'T' | 0x8d => {
                let length = match operation {
                    0x8d => self.stream.u64()?, // BINUNICODE8
                    _ => self.length(matches!(operation, 0x8c | b'U'))?,
                };
                let text = String::from_utf8(self.stream.bytes(length)?);
                self.push(text.map_or(Value::Other("bytes"), Value::Text));
            }
            b'C' | b'B' | 0x8e | 0x96 => {
                let length = match operation {
                    0x8e | 0x96 => self.stream.u64()?, // BINBYTES8, BYTEARRAY8
                    _ => self.length(operation == b'C')?,
                };
                self.stream.skip(length)?;
                self.push(Value::Other("bytes"));
            }

            b')' => self.push(Value::Tuple(Vec::new())),
            0x85..=0x87 => {
                // TUPLE1, TUPLE2, TUPLE3
                let count = operation - 0x84;
                let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
                items.reverse();
                self.push(Value::Tuple(items));
            }
            b't' => {
                let items = self.group()?;
                self.push(Value::Tuple(items));
            }
            b']' => self.push(Value::List(Vec::new())),
            b'l' => {
                let items = self.group()?;
                self.push(Value::List(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.group()?;
                self.append(&items)?;
            }
            b'}' => self.push(Value::Dict(Vec::new())),
            b'd' => {
                let items = self.group()?;
                self.push(Value::Dict(Vec::new()));
                self.set_items(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.group()?;
                self.set_items(&items)?;
            }
            0x8f => self.push(Value::Other("set")), // EMPTY_SET
            0x90 => drop(self.group()?),            // ADDITEMS
            0x91 => {
                // FROZENSET
                self.group()?;
                self.push(Value::Other("set"));
            }

            b'q' | b'r' | 0x94 => {
                let key = match operation {
                    b'q' => self.stream.byte()?.into(),
                    b'r' => self.stream.u32()?,
                    _ => self.memo.len() as u32, // MEMOIZE
                };
                let top = self.top()?;
                self.memo.insert(key, top);
            }
            b'h' | b'j' => {
                let key = self.length(operation == b'h')? as u32;
                match self.memo.get(&key) {
                    Some(&id) => self.stack.push(id),
                    None => return fault(format!("a pickle recalls value {key}, never noted")),
                }
            }

            b'c' => {
                let (module, name) = (self.stream.name()?, self.stream.name()?);
                self.push(Value::Global(format!("{module}.{name}")));
            }
            0x93 => {
                // STACK_GLOBAL
                let (name, module) = (self.pop()?, self.pop()?);
                self.global(module, name)?;
            }
            b'R' | 0x81 => {
                // REDUCE, NEWOBJ
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            0x92 => {
                // NEWOBJ_EX
                let (_named, arguments, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            // Attributes: a state dict's `_metadata`, what a Namespace holds. Nobody asks for them.
            b'b' => drop(self.pop()?),
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }
            _ => {
                return fault(format!(
                    "operation {operation:#04x} in a pickle, which is not known"
                ));
            }
        }
        Ok(())
    }

    fn spend(&mut self, operations: usize) -> Result<()> {
        match self.left.checked_sub(operations) {
            Some(left) => self.left = left,
            None => return fault(format!("a pickle of more than {OPERATIONS} operations")),
        }
        Ok(())
    }

    /// A number of one byte or of four.
    fn length(&mut self, short: bool) -> Result<u64> {
        Ok(match short {
            true => self.stream.byte()?.into(),
            false => self.stream.u32()?.into(),
        })
    }

    fn value(&self, id: Id) -> &Value {
        &self.values[id.0]
    }

    fn push(&mut self, value: Value) {
        self.stack.push(Id(self.values.len()));
        self.values.push(value);
    }

    fn top(&self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(top) if self.stack.len() > floor => Ok(*top),
            _ => fault("a pickle takes a value where there is none"),
        }
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Everything since the last mark.
    fn group(&mut self) -> Result<Vec<Id>> {
        match self.marks.pop() {
            Some(floor) => Ok(self.stack.split_off(floor)),
            None => fault("a pickle ends a group of values that it has not begun"),
        }
    }

    fn append(&mut self, items: &[Id]) -> Result<()> {
        let list = self.top()?;
        match &mut self.values[list.0] {
            Value::List(list) => list.extend(items),
            Value::Call { .. } => {} // an object that is like a list
            _ => return fault("a pickle appends to what is no list"),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<()> {
        let dict = self.top()?;
        if !items.len().is_multiple_of(2) {
            return fault("a pickle gives a dict a key without a value");
        }
        match &mut self.values[dict.0] {
            Value::Dict(pairs) => {
                pairs.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])))
            }
            Value::Call { .. } => {} // an object that is like a dict
            _ => return fault("a pickle gives entries to what is no dict"),
        }
        Ok(())
    }

    fn global(&mut self, module: Id, name: Id) -> Result<()> {
        let global = match (self.value(module), self.value(name)) {
            (Value::Text(module), Value::Text(name)) if module.len() + name.len() < 2 * NAME => {
                format!("{module}.{name}")
            }
            _ => return fault("a pickle names a class by what is no name"),
        };
        self.push(Value::Global(global));
        Ok(())
    }

    /// A call is a value like any other; only the dicts of the standard library become dicts.
    fn call(&mut self, callable: Id, arguments: Id) -> Result<()> {
        let dict = matches!(self.value(callable), Value::Global(name)
            if ["collections.OrderedDict", "collections.defaultdict"].contains(&name.as_str()));
        if !dict {
            self.push(Value::Call { callable, arguments });
            return Ok(());
        }
        let pairs = self.pairs(arguments).unwrap_or_default();
        // A stream can name the same list again and again.
        self.spend(pairs.len())?;
        self.push(Value::Dict(pairs));
        Ok(())
    }

    /// The entries in `OrderedDict([[key, value], ..])`, as Python 2 writes it.
    fn pairs(&self, arguments: Id) -> Option<Vec<(Id, Id)>> {
        let items = |id: Id| match self.value(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        };
        let pair = |id: &Id| match items(*id)?.as_slice() {
            [key, value] => Some((*key, *value)),
            _ => None,
        };
        items(*items(arguments)?.first()?)?.iter().map(pair).collect()
    }
}

/// A whole number from its bytes, lowest first, in two's complement.
fn whole_number(bytes: Vec<u8>) -> Value {
    if bytes.len() > 8 {
        return Value::Long(bytes);
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut number = if negative { [0xff; 8] } else { [0; 8] };
    number[..bytes.len()].copy_from_slice(&bytes);
    Value::Int(i64::from_le_bytes(number))
}
