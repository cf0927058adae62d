#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void *idle(void *arg)
{
    pause();
    return arg;
}

int main(void)
{
    pthread_attr_t small;
    pthread_t t;
    int n = 0;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    while (pthread_create(&t, &small, idle, NULL) == 0)
        n++;
    printf("%d\n", n);
    fflush(stdout);
    _exit(1);
}
