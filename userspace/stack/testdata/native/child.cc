/* As child.c, with names that C++ makes. */
#include <cstdint>
#include <cstdio>
#include <string>
#include <unistd.h>

namespace shop {

template <typename T> struct Cart {
	__attribute__((noinline)) void pay(const std::string &, T);
};

template <typename T> void Cart<T>::pay(const std::string &who, T)
{
	uintptr_t *frame = static_cast<uintptr_t *>(__builtin_frame_address(0));

	printf("[%lu", reinterpret_cast<unsigned long>(&&here));
here:
	printf(",%lu]\n", static_cast<unsigned long>(frame[1] + who.size() * 0));
	fflush(stdout);
}

} /* namespace shop */

int main()
{
	char c;
	shop::Cart<int> cart;

	cart.pay("x", 1);
	return read(0, &c, 1) < 0;
}
