using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>The connection of this PowerShell process.</summary>
internal static class WandbSession
{
    private static readonly SemaphoreSlim Opening = new(1, 1);

    /// <summary>What every command uses that is given none.</summary>
    internal static WandbConnection? Current { get; private set; }

    /// <summary>The connection, where somebody asked for it with Connect-Wandb: it wins over the environment and every file.</summary>
    internal static WandbConnection? Chosen { get; private set; }

    /// <summary>What completers have found at this connection: a new one begins with nothing.</summary>
    internal static CompletionCache Completions { get; private set; } = new(TimeProvider.System);

    internal static void Set(WandbConnection? connection)
    {
        var old = Current;
        Current = Chosen = connection;
        Completions = new CompletionCache(TimeProvider.System);
        if (!ReferenceEquals(old, connection))
        {
            old?.Dispose();
        }
    }

    internal static async Task<WandbConnection> OpenAsync(
        Func<WandbSettings> settings,
        Action<string>? verbose,
        CancellationToken token
    )
    {
        await Opening.WaitAsync(token);
        try
        {
            if (Current is { } there)
            {
                return there;
            }

            var opened = await WandbConnection.OpenAsync(settings(), verbose, token);
            if (Current is { } chosen)
            {
                // Connect-Wandb in another runspace was meanwhile.
                opened.Dispose();
                return chosen;
            }

            Completions = new CompletionCache(TimeProvider.System);
            return Current = opened;
        }
        finally
        {
            Opening.Release();
        }
    }
}
