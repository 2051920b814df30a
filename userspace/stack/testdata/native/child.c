/* The child says where it is: it writes the addresses on its stack, innermost
 * first, along the frame pointers, and waits. */
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

extern void middle(void (*fn)(void));

static __attribute__((noinline)) void innermost(void)
{
	uintptr_t *frame = __builtin_frame_address(0);

	printf("[%lu", (unsigned long)(uintptr_t)&&here);
here:
	/* Three functions of this program and one of the library. */
	for (int i = 0; i < 4 && frame; i++) {
		printf(",%lu", (unsigned long)frame[1]);
		frame = (uintptr_t *)frame[0];
	}
	printf("]\n");
	fflush(stdout);
}

static inline __attribute__((always_inline)) void folded(void)
{
	innermost();
	__asm__ volatile("" ::: "memory");
}

static __attribute__((noinline)) void inner(void)
{
	folded();
	__asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) void outer(void)
{
	middle(inner);
	__asm__ volatile("" ::: "memory");
}

int main(void)
{
	char c;

	outer();
	return read(0, &c, 1) < 0;
}
