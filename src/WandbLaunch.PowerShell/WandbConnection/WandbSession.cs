using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>The connection of this PowerShell process.</summary>
internal static class WandbSession
{
    private static readonly SemaphoreSlim Opening = new(1, 1);

    internal static WandbConnection? Current { get; private set; }

    internal static void Set(WandbConnection? connection)
    {
        var old = Current;
        Current = connection;
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
            if (Current is null)
            {
                Current = await WandbConnection.OpenAsync(settings(), verbose, token);
            }

            return Current;
        }
        finally
        {
            Opening.Release();
        }
    }
}
