using WandbLaunch.PowerShell;

namespace WandbLaunch.Tests;

[Collection(ProcessCollection.Name)]
public class CompletionCacheTests
{
    private static readonly TimeSpan Long = TimeSpan.FromHours(1);

    private readonly CompletionCache _cache = new(TimeProvider.System);
    private int _asked;

    [Fact]
    public void Fresh_values_are_not_asked_for_again()
    {
        Assert.Equal(["a"], Get(Long, () => Task.FromResult("a")));
        Assert.Equal(["a"], Get(Long, () => Task.FromResult("b")));
        Assert.Equal(1, _asked);
    }

    [Fact]
    public void Old_values_and_those_that_do_not_fit_are()
    {
        Assert.Equal(["a"], Get(TimeSpan.Zero, () => Task.FromResult("a")));
        Assert.Equal(["b"], Get(TimeSpan.Zero, () => Task.FromResult("b")));
        Assert.Equal(["c"], Get(Long, () => Task.FromResult("c"), fits: false));
        Assert.Equal(3, _asked);
    }

    [Fact]
    public async Task What_takes_long_is_waited_for_behind_and_old_values_are_given_meanwhile()
    {
        var answer = new TaskCompletionSource<string>();
        var clock = System.Diagnostics.Stopwatch.StartNew();
        Assert.Empty(Get(TimeSpan.Zero, () => answer.Task));
        Assert.Empty(Get(TimeSpan.Zero, () => answer.Task));
        // It was asked once, and both came back: neither waited for the answer, which nobody has given.
        Assert.Equal(1, _asked);
        Assert.InRange(clock.Elapsed, TimeSpan.FromMilliseconds(100), TimeSpan.FromSeconds(20));
        answer.SetResult("a");
        await UntilAsync(() => Get(Long, () => Task.FromResult("b")).SequenceEqual(["a"]));

        Assert.Equal(["a"], Get(TimeSpan.Zero, () => new TaskCompletionSource<string>().Task));
    }

    [Fact]
    public void A_fault_leaves_the_old_values_and_is_asked_again()
    {
        Assert.Empty(Get(Long, () => throw new InvalidOperationException()));
        Assert.Equal(["a"], Get(Long, () => Task.FromResult("a")));
        Assert.Equal(["a"], Get(TimeSpan.Zero, () => Task.FromException<string>(new IOException())));
        Assert.Equal(["b"], Get(TimeSpan.Zero, () => Task.FromResult("b")));
    }

    [Fact]
    public void It_does_not_grow_for_ever()
    {
        for (var i = 0; i < 1000; i++)
        {
            Get(Long, () => Task.FromResult("a"), key: $"{i}");
        }

        Get(Long, () => Task.FromResult("a"), key: "0");
        Assert.Equal(1001, _asked);
    }

    private List<string> Get(TimeSpan fresh, Func<Task<string>> ask, bool fits = true, string key = "k") =>
        _cache
            .Get(
                key,
                fresh,
                async token =>
                {
                    Interlocked.Increment(ref _asked);
                    return [(await ask().WaitAsync(token), "")];
                },
                _ => fits
            )
            .Select(v => v.Value)
            .ToList();

    private static async Task UntilAsync(Func<bool> reached)
    {
        for (var i = 0; i < 200 && !reached(); i++)
        {
            await Task.Delay(50, TestContext.Current.CancellationToken);
        }

        Assert.True(reached());
    }
}
