template <int N, int M> struct bomb {
    static constexpr long value = bomb<N - 1, M>::value + bomb<N - 1, M + 1>::value + bomb<N - 1, 2 * M>::value;
};
template <int M> struct bomb<0, M> {
    static constexpr long value = M;
};
int main()
{
    return static_cast<int>(bomb<800, 1>::value);
}
