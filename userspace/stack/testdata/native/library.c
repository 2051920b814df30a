/* middle stands between two functions of the child. */
__attribute__((noinline)) void middle(void (*fn)(void))
{
	fn();
	__asm__ volatile("" ::: "memory");
}
