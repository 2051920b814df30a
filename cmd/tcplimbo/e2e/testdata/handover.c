// Handover accepts one connection, "accept", and hands it on: "dup" in this process,
// "fork" to a child, "send" to whoever listens at the Unix socket that its argument
// names. "exit" ends it and not the child. The mark is what the test looks for.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int listener, conn;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void listen_here(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t size = sizeof(address);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 8) ||
	    getsockname(listener, (struct sockaddr *)&address, &size))
		die("listening");
}

__attribute__((noinline)) static void take_request(void)
{
	conn = accept(listener, NULL, NULL); // mark: accept
	if (conn < 0)
		die("accepting");
}

// The child keeps the connection, and nothing that the test waits for.
static void give_to_child(void)
{
	pid_t child = fork();

	if (child < 0)
		die("forking");
	if (child)
		return;
	close(listener);
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	alarm(120);
	for (;;)
		pause();
}

static void send_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char byte = 0, room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(rights), &conn, sizeof(int));
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) || sendmsg(fd, &message, 0) != 1)
		die("sending the connection");
	close(fd);
}

int main(int argc, char **argv)
{
	char line[64];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2)
		return 1;
	listen_here();
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(line, "accept\n"))
			take_request();
		else if (!strcmp(line, "dup\n"))
			dup(conn);
		else if (!strcmp(line, "fork\n"))
			give_to_child();
		else if (!strcmp(line, "send\n"))
			send_to(argv[1]);
		puts("done");
		if (!strcmp(line, "exit\n"))
			break;
	}
	return 0;
}
