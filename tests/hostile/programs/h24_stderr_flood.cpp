#include <iostream>
#include <string>

int main()
{
    const std::string line(4096, 'e');
    for (;;)
        std::cerr << line << '\n';
}
