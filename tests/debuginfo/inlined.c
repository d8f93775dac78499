/* What source lines are tested on: calls inlined into each other, in loops and blocks, and code in pieces. */
volatile int sink;

static inline __attribute__((always_inline)) int innermost(int value)
{
	sink = value;
	return sink * 3;
}

static inline __attribute__((always_inline)) int middle(int value)
{
	int sum = 0;

	for (int i = 0; i < value; i++) {
		int twice = innermost(i) * 2;

		sum += innermost(twice);
	}
	return sum;
}

__attribute__((cold, noinline)) void rarely(int value)
{
	sink = -value;
}

int outer(int value)
{
	if (value > 1000)
		rarely(value);
	return middle(value) + middle(value + 1);
}

__attribute__((section(".text.elsewhere"))) int elsewhere(int value)
{
	return innermost(value) + outer(value);
}

int _start(void)
{
	return elsewhere(3) + outer(4);
}
