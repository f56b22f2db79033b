use super::*;
use crate::engine::device::Device;
use crate::engine::ops::check::targets;
use crate::engine::tensor::Store;

op! {
    /// `y = 2 x`, of which the gradient adds up to two earlier contributions.
    struct Double = "double_fwd" {
        out y,
        in x,
    }
}

op! {
    struct DoubleBwd = "double_bwd" {
        out dx,
        in dy,
        in earlier: [Tensor; 2],
    }
}

op! {
    /// `sum = total of x[first..]`, of which the gradient is written into those columns.
    struct Tail = "tail_fwd" {
        out sum,
        in x,
        columns: Range<usize>,
    }
}

op! {
    struct TailBwd = "tail_bwd" {
        out dx,
        in dsum,
        columns: Range<usize>,
    }
}

fn double(tape: &mut Tape, x: Tensor) -> Tensor {
    let y = tape.tensor(&x.dims(), x.dtype());
    tape.push(Double { y, x });
    y
}

impl Op for Double {
    fn backward(&self, tape: &mut Tape) {
        let dy = tape.grad(self.y);
        let (dx, earlier) = tape.grad_sum(self.x);
        tape.push(DoubleBwd { dx, dy, earlier });
        tape.set_grad(self.x, dx);
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([y], [x]) = mem.views([self.y], [self.x]);
        y.iter_mut().zip(x).for_each(|(y, x)| *y = 2.0 * x);
    }
    fn launch(&self, _: &mut Launches) {}
}

impl Op for DoubleBwd {
    fn cpu(&self, mem: &mut Memory) {
        let ([dx], [dy, first, second]) = mem.views([self.dx], [self.dy, self.earlier[0], self.earlier[1]]);
        for (i, dx) in dx.iter_mut().enumerate() {
            *dx = 2.0 * dy[i] + first.get(i).unwrap_or(&0.0) + second.get(i).unwrap_or(&0.0);
        }
    }
    fn launch(&self, _: &mut Launches) {}
}

impl Op for Tail {
    fn backward(&self, tape: &mut Tape) {
        let dsum = tape.grad(self.sum);
        let dx = tape.grad_columns(self.x, self.columns.clone());
        tape.push(TailBwd { dx, dsum, columns: self.columns.clone() });
    }
    fn cpu(&self, mem: &mut Memory) {
        let ([sum], [x]) = mem.views([self.sum], [self.x]);
        sum[0] = x[self.columns.clone()].iter().sum();
    }
    fn launch(&self, _: &mut Launches) {}
}

impl Op for TailBwd {
    fn cpu(&self, mem: &mut Memory) {
        let ([dx], [dsum]) = mem.views([self.dx], [self.dsum]);
        dx[self.columns.clone()].fill(dsum[0]);
    }
    fn launch(&self, _: &mut Launches) {}
}

/// The gradient of the sum over `y(x)` at ones, and the names of the nodes of the reverse pass.
fn gradient(y: impl Fn(&mut Tape, Tensor) -> Tensor) -> (Vec<f32>, Vec<&'static str>) {
    let mut store = Store::new();
    let (x, dy) = (store.tensor(&[4], DType::F32), store.tensor(&[4], DType::F32));
    let mut session = Session::new(Device::Cpu, &store).unwrap();
    let mut tape = Tape::new(Backend::Cpu, DType::F32);
    tape.watch(x);
    let y = y(&mut tape, x);
    tape.seed_grad(y, Store::slice(dy, 0, &y.dims()));
    tape.backward();
    let dx = tape.grad(x);
    tape.keep(dx);
    let mut program = session.load(tape).unwrap();
    session.write(x, &[1.0; 4]).unwrap();
    session.write(dy, &[1.0; 4]).unwrap();
    session.run(&mut program).unwrap();
    let names = program.nodes()[program.forward_nodes()..].iter().map(|node| node.name()).collect();
    (session.read_in(&program, dx).unwrap(), names)
}

#[test]
fn an_op_that_can_adds_what_has_arrived_before() {
    let three = |tape: &mut Tape, x| {
        let (a, b) = (double(tape, x), double(tape, x));
        add::add(tape, a, b)
    };
    assert_eq!(gradient(three), (vec![4.0; 4], vec!["double_bwd"; 2]));
    // x reaches y five times: four contributions arrive before the last op, which takes two.
    let five = |tape: &mut Tape, x| {
        let a = double(tape, x);
        let y = add::add(tape, a, x);
        let y = add::add(tape, y, x);
        let y = add::add(tape, y, x);
        add::add(tape, y, x)
    };
    assert_eq!(gradient(five), (vec![6.0; 4], vec!["add_fwd", "add_fwd", "double_bwd"]));
    // Without such an op, the sum is made in the end.
    let twice = |tape: &mut Tape, x| add::add(tape, x, x);
    assert_eq!(gradient(twice), (vec![2.0; 4], vec!["add_fwd"]));
}

#[test]
fn columns_of_one_gradient_come_from_several_ops() {
    let parts = |columns: [Range<usize>; 2]| {
        move |tape: &mut Tape, x| {
            let x = double(tape, x);
            let sums = columns.clone().map(|columns| {
                let sum = tape.tensor(&[1], DType::F32);
                tape.push(Tail { sum, x, columns });
                sum
            });
            let doubled = double(tape, sums[0]);
            add::add(tape, doubled, sums[1])
        }
    };
    let (dx, names) = gradient(parts([0..1, 1..4]));
    assert_eq!((dx, names.len()), (vec![4.0, 2.0, 2.0, 2.0], 4));
    let panics = |columns| std::panic::catch_unwind(|| gradient(parts(columns))).is_err();
    assert!(panics([0..2, 1..4]) && panics([0..1, 2..4]), "columns that overlap, or are missing");
}

#[test]
fn what_follows_the_reverse_pass_updates() {
    let x = Store::new().tensor(&[4], DType::F32);
    let mut tape = Tape::new(Backend::Cpu, DType::F32);
    tape.watch(x);
    let y = double(&mut tape, x);
    let y = double(&mut tape, y);
    tape.seed_grad(y, x);
    tape.backward();
    double(&mut tape, x);
    double(&mut tape, x);
    let passes: Vec<Pass> = tape.work().into_iter().map(|work| work.pass).collect();
    use Pass::{Backward, Forward, Update};
    assert_eq!(passes, [Forward, Forward, Backward, Backward, Update, Update]);
}

fn write_neighbours(device: Device) {
    let mut store = Store::new();
    // The second ends amid its alignment; between the third and the last lies one that is not written.
    let [a, b, c, aside, last] = [64, 5, 1, 3, 2].map(|n| store.tensor(&[n], DType::F32));
    let mut session = Session::new(device, &store).unwrap();
    let values = |t: Tensor, first: f32| (0..t.numel()).map(|i| first + i as f32).collect::<Vec<f32>>();
    session.write(aside, &values(aside, -9.0)).unwrap();
    let written = [(last, 400.0), (b, 200.0), (a, 100.0), (c, 300.0)].map(|(t, first)| (t, values(t, first)));
    let parts: Vec<(Tensor, &[u8])> = written.iter().map(|(t, v)| (*t, bytemuck::cast_slice(v))).collect();
    session.write_all(&parts).unwrap();
    for (t, want) in written.iter().chain([&(aside, values(aside, -9.0))]) {
        assert_eq!(session.read(*t).unwrap(), *want, "{t:?} on {}", session.device_name());
    }
}

#[test]
fn neighbours_are_written_each_to_its_place() {
    targets().iter().for_each(|target| write_neighbours(target.open()));
}

/// A program of one op whose intermediates and counters take so much.
fn load(session: &mut Session, x: Tensor, elements: usize) -> (Program, Tensor) {
    let mut tape = Tape::new(session.backend(), DType::F32);
    let [large, other] = [(); 2].map(|()| tape.tensor(&[elements], DType::F32));
    tape.counters(elements);
    let y = add::add(&mut tape, x, x);
    add::sum_into(&mut tape, large, other, other);
    tape.keep(y);
    (session.load(tape).unwrap(), y)
}

fn run_after_a_larger_one(device: Device) {
    let mut store = Store::new();
    let x = store.tensor(&[3], DType::F32);
    let mut session = Session::new(device, &store).unwrap();
    session.write(x, &[1.0, 2.0, 3.0]).unwrap();
    let (mut small, y) = load(&mut session, x, 8);
    session.run(&mut small).unwrap();
    let (mut large, _) = load(&mut session, x, 100_000);
    session.run(&mut large).unwrap();
    session.run(&mut small).unwrap();
    assert_eq!(session.read_in(&small, y).unwrap(), [2.0, 4.0, 6.0]);
    assert!(session.memory_bytes().1 >= 400_000);
}

/// The arena is allocated anew for the larger program: what the other one has recorded no longer holds.
#[test]
fn a_program_runs_after_a_larger_one_was_loaded() {
    targets().iter().for_each(|target| run_after_a_larger_one(target.open()));
}

#[test]
fn counters_are_zero_and_their_own() {
    assert!(Tape::new(Backend::Cpu, DType::F32).counters(1).is_empty());
    for device in targets().iter().map(|target| target.open()).filter(|device| device.backend() != Backend::Cpu) {
        let mut tape = Tape::new(device.backend(), DType::F32);
        let (a, b) = (tape.counters(3), tape.counters(2));
        assert_eq!((a.place, b.place), (Place::Counters(0), Place::Counters(12)));
        let mut session = Session::new(device, &Store::new()).unwrap();
        let program = session.load(tape).unwrap();
        let read = |session: &mut Session, t| session.read_in(&program, t).unwrap();
        assert_eq!((read(&mut session, a), read(&mut session, b)), (vec![0.0; 3], vec![0.0; 2]));
    }
}
