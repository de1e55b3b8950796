//! What a pickle stream comes to.

/// Entries of a dict that tell what it is. A file can name the same long dict in many places, and
/// going through it in each of them would not end.
pub(super) const FIRST: usize = 64;

/// The place of a value. Only the machine that reads a stream makes them, for values it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Id(pub(super) usize);

#[derive(Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A whole number of more than 8 bytes, lowest first.
    Long(Vec<u8>),
    Text(String),
    /// A class or a function, by module and name.
    Global(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A call that was not made, or an object that was not built.
    Call {
        callable: Id,
        arguments: Id,
    },
    /// What lies outside the stream: a storage, by its description.
    Persistent(Id),
    /// What no checkpoint needs the content of.
    Other(&'static str),
}

/// The values of one stream.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    pub(super) fn new(values: Vec<Value>, root: Id) -> Self {
        Pickle { values, root }
    }

    /// What was pickled.
    pub(super) fn root(&self) -> Node<'_> {
        Node { pickle: self, id: self.root }
    }

    /// Every value, used or not.
    pub(super) fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        (0..self.values.len()).map(|place| Node { pickle: self, id: Id(place) })
    }
}

/// A value, and the stream it refers into.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pickle: &'a Pickle,
    id: Id,
}

impl<'a> Node<'a> {
    pub(super) fn value(self) -> &'a Value {
        &self.pickle.values[self.id.0]
    }

    fn at(self, id: Id) -> Self {
        Node { id, ..self }
    }

    pub(super) fn text(self) -> Option<&'a str> {
        match self.value() {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn global(self) -> Option<&'a str> {
        match self.value() {
            Value::Global(name) => Some(name),
            _ => None,
        }
    }

    pub(super) fn int(self) -> Option<i64> {
        match self.value() {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// A count, a size, an offset.
    pub(super) fn count(self) -> Option<u64> {
        self.int()?.try_into().ok()
    }

    /// The items of a tuple or a list.
    pub(super) fn items(self) -> Option<impl ExactSizeIterator<Item = Node<'a>>> {
        match self.value() {
            Value::Tuple(items) | Value::List(items) => {
                Some(items.iter().map(move |&id| self.at(id)))
            }
            _ => None,
        }
    }

    /// One item of a tuple or a list.
    pub(super) fn item(self, place: usize) -> Option<Node<'a>> {
        self.items()?.nth(place)
    }

    /// Keys and values of a dict.
    pub(super) fn pairs(self) -> Option<impl Iterator<Item = (Node<'a>, Node<'a>)>> {
        match self.value() {
            Value::Dict(pairs) => {
                Some(pairs.iter().map(move |&(key, value)| (self.at(key), self.at(value))))
            }
            _ => None,
        }
    }

    /// The entry of a dict, if it is among the first: those that are asked for names have few.
    pub(super) fn entry(self, name: &str) -> Option<Node<'a>> {
        let mut pairs = self.pairs()?.take(FIRST);
        pairs.find(|(key, _)| key.text() == Some(name)).map(|(_, value)| value)
    }

    /// What is called, and with which arguments.
    pub(super) fn call(self) -> Option<(&'a str, Node<'a>)> {
        match self.value() {
            Value::Call { callable, arguments } => {
                Some((self.at(*callable).global()?, self.at(*arguments)))
            }
            _ => None,
        }
    }

    /// The description of a storage.
    pub(super) fn persistent(self) -> Option<Node<'a>> {
        match self.value() {
            Value::Persistent(id) => Some(self.at(*id)),
            _ => None,
        }
    }
}
