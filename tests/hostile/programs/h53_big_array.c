int big[0x10000000] = {1};
int main(void)
{
    return big[5];
}
