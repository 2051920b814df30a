// As child.c, with names that Rust makes.
use std::io::Read;

mod shop {
    pub struct Cart;
    impl Cart {
        #[inline(never)]
        pub fn pay(&self) {
            let frame: *const usize;
            unsafe {
                std::arch::asm!("mov {}, rbp", out(reg) frame);
                println!("[{},{}]", Cart::pay as *const () as usize + 1, *frame.add(1));
            }
        }
    }
}

#[inline(never)]
fn order() {
    shop::Cart.pay();
    // So that the call is no jump; std::hint::black_box() is younger than Debian 12's compiler.
    unsafe { std::arch::asm!("") };
}

fn main() {
    order();
    let _ = std::io::stdin().read(&mut [0u8; 1]);
}
