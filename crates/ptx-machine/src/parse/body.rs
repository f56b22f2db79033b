//! Variables, and kernels with their statements.

use super::module::{Guard, Kernel, Operand, Space, Statement, Variable, Width};
use super::space;
use super::tokens::{Token, Tokens, integer};
use crate::error::Result;
use std::collections::HashMap;

/// Reads a variable after its state space: `.align 16 .b8 name[32] = {1, 2};`.
pub(super) fn variable(space: Space, tokens: &mut Tokens) -> Result<Variable> {
    let variable = declaration(space, tokens)?;
    tokens.expect(b';')?;
    Ok(variable)
}

fn declaration(space: Space, tokens: &mut Tokens) -> Result<Variable> {
    let (mut align, mut element) = (0, 0);
    let name = loop {
        match tokens.word()? {
            ".align" => align = tokens.integer()? as u32,
            ".ptr" | ".global" | ".const" | ".shared" | ".local" | ".attribute" => {}
            word if word.starts_with('.') => {
                element = bytes_of(word).ok_or_else(|| tokens.error(format!("the type `{word}` is unknown")))?;
            }
            name => break name.to_owned(),
        }
    };
    let mut count = 1;
    while tokens.accept(b'[')? {
        if tokens.accept(b']')? {
            count = 0;
        } else {
            count *= tokens.integer()? as u32;
            tokens.expect(b']')?;
        }
    }
    let mut initial = Vec::new();
    if tokens.accept(b'=')? {
        let is_list = tokens.accept(b'{')?;
        loop {
            let value = literal(tokens)?;
            initial.extend_from_slice(&value.to_le_bytes()[..element as usize]);
            if !is_list || !tokens.accept(b',')? {
                break;
            }
        }
        if is_list {
            tokens.expect(b'}')?;
        }
    }
    Ok(Variable { space, name, align_bytes: align.max(element), bytes: element * count, initial })
}

fn literal(tokens: &mut Tokens) -> Result<u64> {
    if let Token::Word(word) = tokens.peek()? {
        if let Some(Operand::Single(bits)) = float(word) {
            tokens.next()?;
            return Ok(bits.into());
        }
        if let Some(Operand::Double(bits)) = float(word) {
            tokens.next()?;
            return Ok(bits);
        }
    }
    Ok(tokens.integer()? as u64)
}

fn bytes_of(word: &str) -> Option<u32> {
    let digits = word.trim_start_matches(|c: char| !c.is_ascii_digit());
    let bits: u32 = digits.parse().ok()?;
    matches!(bits, 8 | 16 | 32 | 64).then_some(bits / 8)
}

fn float(word: &str) -> Option<Operand> {
    if let Some(digits) = word.strip_prefix("0f").or_else(|| word.strip_prefix("0F")) {
        return Some(Operand::Single(u32::from_str_radix(digits, 16).ok()?));
    }
    let digits = word.strip_prefix("0d").or_else(|| word.strip_prefix("0D"))?;
    Some(Operand::Double(u64::from_str_radix(digits, 16).ok()?))
}

/// Reads a kernel after `.entry`.
pub(super) fn kernel(tokens: &mut Tokens) -> Result<Kernel> {
    let mut kernel = Kernel { name: tokens.word()?.to_owned(), ..Kernel::default() };
    if tokens.accept(b'(')? && !tokens.accept(b')')? {
        loop {
            if tokens.word()? != ".param" {
                return Err(tokens.error("a parameter is expected"));
            }
            kernel.parameters.push(declaration(Space::Parameter, tokens)?);
            if !tokens.accept(b',')? {
                break;
            }
        }
        tokens.expect(b')')?;
    }
    while tokens.peek()? != Token::Mark(b'{') {
        let word = tokens.word()?;
        let mut numbers = Vec::new();
        while let Token::Word(next) = tokens.peek()? {
            if next.starts_with('.') {
                break;
            }
            numbers.push(tokens.integer()? as u32);
            tokens.accept(b',')?;
        }
        match word {
            ".maxntid" | ".reqntid" => kernel.max_threads = numbers.iter().product(),
            ".reqnctapercluster" => {
                let at = |i: usize| numbers.get(i).copied().unwrap_or(1);
                kernel.cluster = Some([at(0), at(1), at(2)]);
            }
            ".minnctapersm" | ".maxnreg" | ".explicitcluster" | ".maxclusterrank" => {}
            _ => return Err(tokens.error(format!("the directive `{word}` is unknown"))),
        }
    }
    tokens.next()?;
    let scopes = vec![Scope::default()];
    Body { tokens, kernel, scopes, open: vec![0], source: None, call: None, scope_of: Vec::new() }.read()
}

/// Names between `{` and `}`: inner ones hide outer ones.
#[derive(Default)]
struct Scope {
    registers: HashMap<String, u32>,
    /// `.reg .b32 %r<10>` declares `%r0` to `%r9`: first register and count by prefix.
    ranges: HashMap<String, (u32, u32)>,
    labels: HashMap<String, usize>,
    parent: usize,
}

struct Body<'a, 't> {
    tokens: &'a mut Tokens<'t>,
    kernel: Kernel,
    scopes: Vec<Scope>,
    /// The scopes that are open, by their number.
    open: Vec<usize>,
    source: Option<(u32, u32)>,
    /// The call, of those that have been read, at which the source line was inlined.
    call: Option<u32>,
    /// The scope of each statement.
    scope_of: Vec<usize>,
}

impl Body<'_, '_> {
    fn read(mut self) -> Result<Kernel> {
        while !self.open.is_empty() {
            match self.tokens.next()? {
                Token::Mark(b'{') => {
                    let parent = self.scope();
                    self.open.push(self.scopes.len());
                    self.scopes.push(Scope { parent, ..Scope::default() });
                }
                Token::Mark(b'}') => {
                    self.open.pop();
                }
                Token::Mark(b';') => {}
                Token::Mark(b'@') => {
                    let negated = self.tokens.accept(b'!')?;
                    let name = self.tokens.word()?;
                    let Some(register) = self.register(name) else {
                        return Err(self.tokens.error(format!("the predicate `{name}` is not declared")));
                    };
                    let opcode = self.tokens.word()?;
                    self.statement(opcode, Some(Guard { register, negated }))?;
                }
                Token::Word(word) if word.starts_with('.') => self.directive(word)?,
                Token::Word(word) => {
                    if self.tokens.accept(b':')? {
                        let (scope, at) = (self.scope(), self.kernel.statements.len());
                        if self.scopes[scope].labels.insert(word.to_owned(), at).is_some() {
                            return Err(self.tokens.error(format!("the label `{word}` stands twice")));
                        }
                    } else {
                        self.statement(word, None)?;
                    }
                }
                found => return Err(self.tokens.error(format!("a statement is expected, found {}", found.shown()))),
            }
        }
        self.resolve_labels();
        Ok(self.kernel)
    }

    fn scope(&self) -> usize {
        *self.open.last().expect("a statement stands in a scope")
    }

    /// File, line and column.
    fn place(&mut self) -> Result<[u32; 3]> {
        let mut next = || Ok(self.tokens.integer()? as u32);
        Ok([next()?, next()?, next()?])
    }

    /// `.loc file line column`, and the call that it was inlined at.
    fn location(&mut self) -> Result<()> {
        let at = self.place()?;
        let mut call = None;
        if self.tokens.accept(b',')? {
            while self.tokens.word()? != "inlined_at" {
                self.tokens.accept(b',')?;
                self.tokens.accept(b'+')?;
            }
            call = Some(self.place()?);
        }
        // Line 0: the compiler knows none. What is inlined keeps the line of its own file.
        if at[1] > 0 {
            self.source = Some((at[0], at[1]));
            self.call = call.map(|_| self.kernel.calls.len() as u32);
        }
        self.kernel.calls.extend(call.map(|call| (at, call)));
        Ok(())
    }

    fn directive(&mut self, word: &str) -> Result<()> {
        if let Some(space) = space(word) {
            let variable = variable(space, self.tokens)?;
            self.kernel.variables.push(variable);
            return Ok(());
        }
        match word {
            ".reg" => self.registers(),
            ".loc" => self.location(),
            ".pragma" => {
                self.tokens.next()?;
                self.tokens.expect(b';')
            }
            _ => Err(self.tokens.error(format!("the directive `{word}` is unknown"))),
        }
    }

    /// `.reg .b32 %r<10>;` or `.reg .pred p, q;`
    fn registers(&mut self) -> Result<()> {
        let word = self.tokens.word()?;
        let width = match (word, bytes_of(word)) {
            (".pred", _) => Width::Predicate,
            (_, Some(2)) => Width::Bits16,
            (_, Some(4)) => Width::Bits32,
            (_, Some(8)) => Width::Bits64,
            _ => return Err(self.tokens.error(format!("registers of type `{word}` are unknown"))),
        };
        let scope = self.scope();
        loop {
            let name = self.tokens.word()?.to_owned();
            let first = self.kernel.registers.len() as u32;
            let mut count = 1;
            if self.tokens.accept(b'<')? {
                count = self.tokens.integer()? as u32;
                self.tokens.expect(b'>')?;
                self.scopes[scope].ranges.insert(name, (first, count));
            } else {
                self.scopes[scope].registers.insert(name, first);
            }
            self.kernel.registers.resize((first + count) as usize, width);
            if !self.tokens.accept(b',')? {
                return self.tokens.expect(b';');
            }
        }
    }

    fn register(&self, name: &str) -> Option<u32> {
        let mut scope = self.scope();
        loop {
            let names = &self.scopes[scope];
            if let Some(&register) = names.registers.get(name) {
                return Some(register);
            }
            let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
            if let (Some(&(first, count)), Ok(i)) = (names.ranges.get(prefix), name[prefix.len()..].parse::<u32>())
                && i < count
            {
                return Some(first + i);
            }
            if scope == 0 {
                return None;
            }
            scope = names.parent;
        }
    }

    fn statement(&mut self, opcode: &str, guard: Option<Guard>) -> Result<()> {
        let line = self.tokens.line();
        let mut operands = Vec::new();
        if !self.tokens.accept(b';')? {
            loop {
                operands.push(self.operand()?);
                if !self.tokens.accept(b',')? {
                    break;
                }
            }
            self.tokens.expect(b';')?;
        }
        self.scope_of.push(self.scope());
        self.kernel.statements.push(Statement {
            line,
            source: self.source,
            call: self.call,
            guard,
            opcode: opcode.to_owned(),
            operands,
        });
        Ok(())
    }

    fn operand(&mut self) -> Result<Operand> {
        let first = match self.tokens.peek()? {
            Token::Mark(b'{') => {
                self.tokens.next()?;
                let list = self.list()?;
                self.tokens.expect(b'}')?;
                return Ok(Operand::List(list));
            }
            Token::Mark(b'[') => {
                self.tokens.next()?;
                return self.address();
            }
            Token::Mark(b'!') => {
                self.tokens.next()?;
                return Ok(Operand::Not(Box::new(self.operand()?)));
            }
            Token::Mark(b'-') => return Ok(Operand::Integer(self.tokens.integer()?)),
            _ => {
                let word = self.tokens.word()?;
                self.named(word)
            }
        };
        if self.tokens.accept(b'|')? {
            let second = self.operand()?;
            return Ok(Operand::Pair(Box::new(first), Box::new(second)));
        }
        Ok(first)
    }

    fn list(&mut self) -> Result<Vec<Operand>> {
        let mut list = vec![self.operand()?];
        while self.tokens.accept(b',')? {
            list.push(self.operand()?);
        }
        Ok(list)
    }

    fn named(&self, word: &str) -> Operand {
        if word == "_" {
            return Operand::Sink;
        }
        if let Some(register) = self.register(word) {
            return Operand::Register(register);
        }
        if word.starts_with(|c: char| c.is_ascii_digit())
            && let Some(literal) = float(word).or_else(|| integer(word).map(Operand::Integer))
        {
            return literal;
        }
        Operand::Name(word.to_owned())
    }

    fn address(&mut self) -> Result<Operand> {
        let word = self.tokens.word()?;
        let base = Box::new(self.named(word));
        let mut offset = 0;
        if self.tokens.accept(b'+')? || self.tokens.peek()? == Token::Mark(b'-') {
            offset = self.tokens.integer()?;
        }
        let mut coordinates = Vec::new();
        if self.tokens.accept(b',')? {
            self.tokens.expect(b'{')?;
            coordinates = self.list()?;
            self.tokens.expect(b'}')?;
        }
        self.tokens.expect(b']')?;
        Ok(Operand::Address { base, offset, coordinates })
    }

    /// Names that are labels of their scope, or of one around it, become the statements that follow them.
    fn resolve_labels(&mut self) {
        for (statement, &scope) in self.kernel.statements.iter_mut().zip(&self.scope_of) {
            for operand in &mut statement.operands {
                let Operand::Name(name) = operand else { continue };
                let mut at = scope;
                loop {
                    if let Some(&label) = self.scopes[at].labels.get(name.as_str()) {
                        *operand = Operand::Label(label);
                        break;
                    }
                    if at == 0 {
                        break;
                    }
                    at = self.scopes[at].parent;
                }
            }
        }
    }
}
