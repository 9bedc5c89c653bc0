//! A fuzzer's bytes as choices: whoever picks the bytes picks what is done. Once they are used up every choice is the first.

/// What is left of the bytes.
pub(super) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Choices(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// At most so many bytes.
    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// A few bytes.
    pub(super) fn pick_bytes(&mut self) -> &'a [u8] {
        let len = self.below(64);
        self.take(len)
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let taken = self.take(N);
        out[..taken.len()].copy_from_slice(taken);
        out
    }

    pub(super) fn byte(&mut self) -> u8 {
        u8::from_be_bytes(self.array())
    }

    pub(super) fn any_u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    pub(super) fn any_u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// Below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let any = if end <= 1 << 8 { usize::from(self.byte()) } else { self.any_u32() as usize };
        any % end
    }

    /// Once in so many times; never when the bytes are used up.
    pub(super) fn once_in(&mut self, times: u8) -> bool {
        self.byte() % times == 1
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A number that is often a small one, or beside a limit that matters.
    pub(super) fn number(&mut self) -> u32 {
        const NOTABLE: [u32; 12] =
            [0, 1, 2, 4, 100, 255, 512, 4096, 65_536, 1 << 20, i32::MAX.cast_unsigned(), u32::MAX];
        if self.once_in(4) { self.any_u32() } else { self.pick(&NOTABLE) }
    }

    /// The same of 64 bits.
    pub(super) fn long(&mut self) -> u64 {
        const NOTABLE: [u64; 12] = [
            0,
            1,
            10,
            4095,
            4096,
            65_536,
            1 << 20,
            1 << 32,
            1 << 44,
            i64::MAX.cast_unsigned(),
            u64::MAX - 1,
            u64::MAX,
        ];
        match self.below(4) {
            0 => self.any_u64(),
            1 => u64::from(self.byte()),
            _ => self.pick(&NOTABLE),
        }
    }

    /// Changes some of `bytes`: flips, fills, cuts, adds.
    pub(super) fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let value = self.pick(&[0, 1, 2, 0x7f, 0x80, 0xff]);
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.extend_from_slice(&self.array::<4>()),
                2 => bytes.iter_mut().skip(at & !3).take(4).for_each(|byte| *byte = value),
                3 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value),
                _ => {
                    let bit = self.below(8);
                    bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
                }
            }
        }
    }
}
