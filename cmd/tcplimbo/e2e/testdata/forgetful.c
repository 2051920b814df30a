// Forgetful connects to itself at "forget", closes the accepted end and forgets
// the other one. With an argument it has a second thread, because the C library's
// system calls are longer then. The marks in the comments are what the test looks for.
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int listener;
static struct sockaddr_in address;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void *wait_for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void listen_here(void)
{
	socklen_t size = sizeof(address);

	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 8) ||
	    getsockname(listener, (struct sockaddr *)&address, &size))
		die("listening");
}

__attribute__((noinline)) static void forget_upstream(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		die("making a socket");
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) // mark: connect
		die("connecting");
}

__attribute__((noinline)) static void finish_request(void)
{
	int fd = accept(listener, NULL, NULL);

	if (fd < 0 || close(fd))
		die("accepting");
}

int main(int argc, char **argv)
{
	char line[64];
	pthread_t thread;

	(void)argv;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1 && pthread_create(&thread, NULL, wait_for_ever, NULL))
		die("making a thread");
	listen_here();
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		forget_upstream();
		finish_request();
		puts("done");
	}
	return 0;
}
