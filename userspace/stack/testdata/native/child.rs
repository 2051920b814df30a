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
    std::hint::black_box(());
}

fn main() {
    order();
    let _ = std::io::stdin().read(&mut [0u8; 1]);
}
