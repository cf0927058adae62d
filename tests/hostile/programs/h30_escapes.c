int main(void)
{
    return @NASTY@;
}
#error @NASTY@
