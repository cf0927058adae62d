// Reads a clock for ten seconds, as a program does that is paid by the second.
#include <chrono>

int main()
{
    auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (std::chrono::steady_clock::now() < end)
        ;
}
