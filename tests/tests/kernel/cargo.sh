# A crate with a library, a program and tests is built, changed, built again and tested.
PATH=$TOOLCHAIN:$PATH
export CARGO_HOME=/tmp/cargo CARGO_NET_OFFLINE=true CARGO_BUILD_JOBS=1
unset RUSTC RUSTUP_TOOLCHAIN
mkdir -p /mnt/a/crate/src
cd /mnt/a/crate
cat >Cargo.toml <<END
[package]
name = "small"
version = "0.1.0"
edition = "2021"
END
cat >src/lib.rs <<END
//! Sums.
pub fn sum(values: &[u64]) -> u64 { values.iter().copied().fold(0, u64::wrapping_add) }
#[cfg(test)]
mod tests {
    #[test]
    fn sums() { assert_eq!(super::sum(&[1, 2, 3]), 6); }
}
END
echo 'fn main() { println!("{}", small::sum(&[40, 2])); }' >src/main.rs
cargo build --quiet
test "$(target/debug/small)" = 42
sleep 1
sed -i 's/40, 2/40, 3/' src/main.rs
cargo build --quiet
test "$(target/debug/small)" = 43
cargo build 2>&1 | grep -q Finished
cargo test --quiet --lib
cargo build --quiet --release
cd ..
rm -r crate
