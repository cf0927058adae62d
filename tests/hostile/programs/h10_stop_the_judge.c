#include <signal.h>
#include <unistd.h>

int main(void)
{
    kill(getppid(), SIGSTOP);
    kill(1, SIGSTOP);
    sleep(1000);
    return 0;
}
