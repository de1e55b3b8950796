//! Tensors as torch pickles them: a storage, and which of its elements in which order.

use super::value::{Node, Value};
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// As many dimensions as torch allows.
const RANK: usize = 64;
/// Bytes of the name of a storage, which is a small number.
const KEY: usize = 64;

/// Elements of a kind of storage: torch's name for the storage, their name, size, and type if they
/// are read.
#[derive(Debug)]
pub(super) struct Kind {
    storage: &'static str,
    name: &'static str,
    pub(super) bytes: u64,
    dtype: Option<DType>,
}

const fn kind(storage: &'static str, name: &'static str, bytes: u64, dtype: Option<DType>) -> Kind {
    Kind { storage, name, bytes, dtype }
}

const KINDS: [Kind; 18] = [
    kind("HalfStorage", "float16", 2, Some(DType::F16)),
    kind("BFloat16Storage", "bfloat16", 2, Some(DType::BF16)),
    kind("FloatStorage", "float32", 4, Some(DType::F32)),
    kind("DoubleStorage", "float64", 8, Some(DType::F64)),
    kind("LongStorage", "int64", 8, Some(DType::I64)),
    kind("BoolStorage", "bool", 1, None),
    kind("ByteStorage", "uint8", 1, None),
    kind("CharStorage", "int8", 1, None),
    kind("ShortStorage", "int16", 2, None),
    kind("IntStorage", "int32", 4, None),
    kind("ComplexFloatStorage", "complex64", 8, None),
    kind("ComplexDoubleStorage", "complex128", 16, None),
    kind("QInt8Storage", "qint8", 1, None),
    kind("QUInt8Storage", "quint8", 1, None),
    kind("QInt32Storage", "qint32", 4, None),
    kind("QUInt4x2Storage", "quint4x2", 1, None),
    kind("QUInt2x4Storage", "quint2x4", 1, None),
    // Of types that are newer than named storages.
    kind("UntypedStorage", "unknown", 1, None),
];

fn fault<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Input(message.into()))
}

/// A storage as tensors refer to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    pub(super) key: &'a str,
    pub(super) kind: &'static Kind,
    /// Elements of the whole.
    pub(super) elements: u64,
    /// The first element of the part that is meant, and how many there are.
    part: (u64, u64),
}

impl<'a> Storage<'a> {
    /// Reads `('storage', type, key, device, elements)`; old containers add a part, normally none.
    pub(super) fn read(description: Node<'a>) -> Result<Self> {
        let item = |place| description.item(place);
        let (Some("storage"), Some(class), Some(key), Some(elements)) = (
            item(0).and_then(Node::text),
            item(1).and_then(Node::global),
            item(2).and_then(Node::text).filter(|key| key.len() <= KEY),
            item(4).and_then(Node::count),
        ) else {
            return fault("a storage without type, key or number of elements");
        };
        let name = class.rsplit('.').next().unwrap_or(class);
        let Some(kind) = KINDS.iter().find(|kind| kind.storage == name) else {
            return fault(format!("storage {key}: its type {class} is not known"));
        };
        let part = match item(5).map(Node::value) {
            None | Some(Value::None) => (0, elements),
            Some(_) => {
                let number = |place| item(5)?.item(place)?.count();
                match (number(1), number(2)) {
                    (Some(start), Some(count))
                        if start.checked_add(count).is_some_and(|end| end <= elements) =>
                    {
                        (start, count)
                    }
                    _ => return fault(format!("storage {key}: a part that is not within it")),
                }
            }
        };
        Ok(Storage { key, kind, elements, part })
    }

    /// Bytes of the whole.
    pub(super) fn bytes(&self) -> Result<u64> {
        self.elements.checked_mul(self.kind.bytes).ok_or_else(|| {
            Error::Input(format!("storage {}: impossible {} elements", self.key, self.elements))
        })
    }
}

/// A tensor whose elements are not read yet. All of them are within its storage.
#[derive(Debug)]
pub(super) struct Stored<'a> {
    pub(super) storage: Storage<'a>,
    dtype: DType,
    shape: Vec<usize>,
    strides: Vec<usize>,
    start: usize,
    count: usize,
}

/// True for what makes a tensor of some kind when Python loads it.
pub(super) fn is_tensor(node: Node) -> bool {
    node.call().is_some_and(|(name, _)| {
        ["torch._utils._rebuild_", "torch._tensor._rebuild_"].iter().any(|p| name.starts_with(p))
    })
}

impl<'a> Stored<'a> {
    /// Reads the arguments from which torch would make the tensor or parameter.
    pub(super) fn read(node: Node<'a>) -> Result<Self> {
        let arguments = arguments(node)?;
        let storage = arguments.item(0).and_then(Node::persistent);
        let (Some(storage), Some(start), Some(shape), Some(strides)) = (
            storage,
            arguments.item(1).and_then(Node::count),
            arguments.item(2).and_then(sizes),
            arguments.item(3).and_then(sizes),
        ) else {
            return fault("a tensor without storage, offset, shape or strides");
        };
        // What torch does to elements when it reads them, such as a change of sign.
        match arguments.item(6).map(Node::value) {
            None | Some(Value::None) => {}
            Some(Value::Dict(changes)) if changes.is_empty() => {}
            Some(_) => return fault("a tensor with marks on its elements (conj, neg), not read"),
        }
        let storage = Storage::read(storage)?;
        let Some(dtype) = storage.kind.dtype else {
            return elements(storage.kind.name);
        };
        let outside = || {
            Error::Input(format!(
                "shape {shape:?}, strides {strides:?} and offset {start} reach beyond the {} \
                 elements of storage {}",
                storage.part.1, storage.key
            ))
        };
        let placed = place(&shape, &strides, start, storage.part).ok_or_else(outside)?;
        Ok(Stored { storage, dtype, start: placed.0, count: placed.1, shape, strides })
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(super) fn bytes(&self) -> u64 {
        self.count as u64 * self.storage.kind.bytes
    }

    /// The tensor, of the bytes of its storage.
    pub(super) fn tensor(&self, storage: &[u8]) -> Result<Tensor> {
        let size = self.storage.kind.bytes as usize;
        let tensor = |bytes: &[u8]| {
            Ok(Tensor::from_raw_buffer(bytes, self.dtype, &self.shape, &Device::Cpu)?)
        };
        if self.count == 0 {
            return tensor(&[]);
        }
        if self.is_contiguous() {
            return tensor(&storage[self.start * size..][..self.count * size]);
        }
        let mut bytes = Vec::with_capacity(self.count * size);
        let (mut index, mut place) = (vec![0; self.shape.len()], self.start);
        for _ in 0..self.count {
            bytes.extend_from_slice(&storage[place * size..][..size]);
            for dim in (0..index.len()).rev() {
                index[dim] += 1;
                place += self.strides[dim];
                if index[dim] < self.shape[dim] {
                    break;
                }
                place -= index[dim] * self.strides[dim];
                index[dim] = 0;
            }
        }
        tensor(&bytes)
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected *= size;
            fits
        })
    }
}

/// The arguments of the plain tensor inside parameters and tensors of other classes.
fn arguments(node: Node) -> Result<Node> {
    const NESTED: usize = 4;
    let Some((mut name, mut arguments)) = node.call() else { return fault("not a tensor") };
    for _ in 0..NESTED {
        let inner = match name {
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => {
                return Ok(arguments);
            }
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
                arguments.item(0).and_then(Node::call)
            }
            // A function, the class, the function's arguments, attributes.
            "torch._tensor._rebuild_from_type_v2" => {
                arguments.item(0).and_then(Node::global).zip(arguments.item(2))
            }
            // As the second version, with a type for which there is no storage.
            "torch._utils._rebuild_tensor_v3" => {
                return elements(arguments.item(6).and_then(Node::global).unwrap_or("unknown"));
            }
            other => return fault(format!("made by {other}; supported: plain tensors")),
        };
        match inner {
            Some(inner) => (name, arguments) = inner,
            None => return fault(format!("{name} without a tensor")),
        }
    }
    fault("a tensor wrapped again and again")
}

fn elements<T>(name: &str) -> Result<T> {
    let known = KINDS.iter().filter(|kind| kind.dtype.is_some()).map(|kind| kind.name);
    let known: Vec<_> = known.collect();
    fault(format!("its elements are {name}; supported: {}", known.join(", ")))
}

/// Shape or strides: a tuple, or a `torch.Size` of one.
fn sizes(node: Node) -> Option<Vec<usize>> {
    let node = match node.call() {
        Some(("torch.Size", arguments)) => arguments.item(0)?,
        Some(_) => return None,
        None => node,
    };
    let sizes = node.items()?;
    if sizes.len() > RANK {
        return None;
    }
    sizes.map(|size| size.count()?.try_into().ok()).collect()
}

/// First element in the whole storage, and number of elements; none if some are not in the part, or if
/// there are more than it has.
fn place(
    shape: &[usize],
    strides: &[usize],
    start: u64,
    part: (u64, u64),
) -> Option<(usize, usize)> {
    if shape.len() != strides.len() {
        return None;
    }
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    if shape.contains(&0) {
        return (start <= part.1).then_some((0, 0));
    }
    let mut last = start;
    for (&size, &stride) in shape.iter().zip(strides) {
        last = last.checked_add((size as u64 - 1).checked_mul(stride as u64)?)?;
    }
    let count = count.filter(|&count| count as u64 <= part.1 && last < part.1)?;
    Some(((part.0 + start).try_into().ok()?, count))
}
