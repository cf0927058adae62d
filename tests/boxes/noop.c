/* Ends at once: what a box costs by itself. */
int main(void)
{
    return 0;
}
