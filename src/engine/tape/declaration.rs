//! The declaration of an op: its name and every tensor it touches, written once. The tape reads from it what depends on
//! what, a launch what the kernel gets.

use crate::engine::tensor::Tensor;

/// Part that a tensor plays in an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Only read.
    In,
    /// Only written: a result, a value saved for backward, scratch memory.
    Out,
    /// Read and written: updated in place.
    InOut,
}

/// Name and operands of an op. The macro `op!` implements it.
pub trait Declaration {
    /// The op's name in profiles and error messages, e.g. `group_norm_fwd`.
    fn name(&self) -> &'static str;
    /// Every tensor that the op touches, in the order of its kernel's arguments.
    fn operands(&self) -> Vec<(Role, Tensor)>;
    /// Every tensor that is written: results, values saved for backward, scratch.
    fn outputs(&self) -> Vec<Tensor> {
        let written = self.operands().into_iter().filter(|(role, _)| *role != Role::In);
        written.map(|(_, tensor)| tensor).collect()
    }
    /// Every tensor that is read. Those that are updated in place follow the others.
    fn inputs(&self) -> Vec<Tensor> {
        let (mut read, mut updated) = (Vec::new(), Vec::new());
        for (role, tensor) in self.operands() {
            match role {
                Role::In => read.push(tensor),
                Role::InOut => updated.push(tensor),
                Role::Out => {}
            }
        }
        read.extend(updated);
        read
    }
}

/// A field of an op that stands for tensors.
pub trait Operand {
    /// Its tensors, in the order in which a kernel gets them.
    fn tensors(&self) -> Vec<Tensor>;
}

impl Operand for Tensor {
    fn tensors(&self) -> Vec<Tensor> {
        vec![*self]
    }
}

impl<const N: usize> Operand for [Tensor; N] {
    fn tensors(&self) -> Vec<Tensor> {
        self.to_vec()
    }
}

impl Operand for Vec<Tensor> {
    fn tensors(&self) -> Vec<Tensor> {
        self.clone()
    }
}

/// Declares an op: a struct, and its [`Declaration`].
///
/// ```text
/// op! {
///     struct DropoutFwd = "dropout_fwd" {
///         out y,                 // [n, ..]
///         in x,                  // as y
///         in layer: DropoutLayer,
///         seed: u64,
///     }
/// }
/// ```
/// A field after `in`, `out` or `inout` is an operand, a [`Tensor`] unless it says which [`Operand`] it is; the kernel
/// gets them in this order. The other fields are the op's parameters. Instead of a text, the name may be a field:
/// `= self.name`. Every field has the struct's visibility.
macro_rules! op {
    ($(#[$meta:meta])* $vis:vis struct $op:ident = self.$($name:ident).+ { $($fields:tt)* }) => {
        op!(@fields [$(#[$meta])* $vis struct $op = [$($name).+]] [] $($fields)*);
    };
    ($(#[$meta:meta])* $vis:vis struct $op:ident = $name:literal { $($fields:tt)* }) => {
        op!(@fields [$(#[$meta])* $vis struct $op = [$name]] [] $($fields)*);
    };

    (@fields $head:tt [$($done:tt)*] $(#[$doc:meta])* $role:ident $field:ident: $ty:ty, $($rest:tt)*) => {
        op!(@fields $head [$($done)* {$(#[$doc])* [$role] $field: $ty}] $($rest)*);
    };
    (@fields $head:tt [$($done:tt)*] $(#[$doc:meta])* $role:ident $field:ident, $($rest:tt)*) => {
        op!(@fields $head [$($done)* {$(#[$doc])* [$role] $field: $crate::engine::tensor::Tensor}] $($rest)*);
    };
    (@fields $head:tt [$($done:tt)*] $(#[$doc:meta])* $field:ident: $ty:ty, $($rest:tt)*) => {
        op!(@fields $head [$($done)* {$(#[$doc])* [] $field: $ty}] $($rest)*);
    };

    (@fields [$(#[$meta:meta])* $vis:vis struct $op:ident = $name:tt]
             [$({$(#[$doc:meta])* [$($role:ident)?] $field:ident: $ty:ty})*]) => {
        #[derive(Debug)]
        $(#[$meta])*
        $vis struct $op {
            $($(#[$doc])* $vis $field: $ty,)*
        }

        impl $crate::engine::tape::Declaration for $op {
            fn name(&self) -> &'static str {
                op!(@name self $name)
            }
            fn operands(&self) -> Vec<($crate::engine::tape::Role, $crate::engine::tensor::Tensor)> {
                let mut operands = Vec::new();
                $($(
                    let tensors = $crate::engine::tape::Operand::tensors(&self.$field);
                    operands.extend(tensors.into_iter().map(|tensor| (op!(@role $role), tensor)));
                )?)*
                operands
            }
        }
    };

    (@name $op:ident [$name:literal]) => { $name };
    (@name $op:ident [$($name:ident).+]) => { $op.$($name).+ };
    (@role in) => { $crate::engine::tape::Role::In };
    (@role out) => { $crate::engine::tape::Role::Out };
    (@role inout) => { $crate::engine::tape::Role::InOut };
}
pub(crate) use op;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tensor::{DType, Store};

    op! {
        /// One operand of every kind, and a parameter.
        struct Everything = self.names.of_op {
            out y,
            inout state,
            in pair: [Tensor; 2],
            names: Names,
            in more: Vec<Tensor>,
        }
    }

    #[derive(Debug)]
    struct Names {
        of_op: &'static str,
    }

    #[test]
    fn operands_are_the_fields_in_order() {
        let mut store = Store::new();
        let [y, state, a, b, c] = [(); 5].map(|()| store.tensor(&[3], DType::F32));
        let op = Everything { y, state, pair: [a, b], names: Names { of_op: "everything" }, more: vec![c] };
        assert_eq!(op.name(), "everything");
        let order: Vec<Tensor> = op.operands().into_iter().map(|(_, tensor)| tensor).collect();
        assert_eq!(order, [y, state, a, b, c]);
        assert_eq!(op.outputs(), [y, state]);
        assert_eq!(op.inputs(), [a, b, c, state]);
    }
}
