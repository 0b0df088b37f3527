namespace WandbLaunch.Benchmarks;

/// <summary>What a person does with a long queue.</summary>
internal static class ItemBenchmarks
{
    private const int Items = 2000;
    private const int Rounds = 5;

    /// <summary>Removing all of it, and looking at its first item alone.</summary>
    internal static void Run()
    {
        var lines = Program.Self("items").Split('\n', StringSplitOptions.RemoveEmptyEntries);
        var times = lines.Select(l => l.Split(' ').Select(Program.Number).ToList()).ToList();
        Console.WriteLine(
            $"{Items:N0} items: Remove-WandbLaunchQueueItem {Program.Median([.. times.Select(t => t[0])]):0} ms (at most 300); Add-WandbLaunchQueueItem {Program.Median([.. times.Select(t => t[1])]):0} ms; Get-WandbLaunchQueueItem | Select-Object -First 1 {Program.Median([.. times.Select(t => t[2])]):0} ms (at most 50)"
        );
    }

    internal static int Child()
    {
        using var runspace = Program.Open(true);
        Program.Invoke(runspace, "$null = Connect-Wandb -Local; $null = New-WandbRunQueue many");
        Program.Invoke(
            runspace,
            $"$items = foreach ($i in 1..{Items}) {{ @{{ uri = 'https://github.com/me/train'; overrides = @{{ args = @('--n', $i) }} }} }}"
        );
        for (var i = 0; i <= Rounds; i++)
        {
            var added = Program.Invoke(runspace, "$pushed = $items | Add-WandbLaunchQueueItem -Queue many");

            // As Select-Object -First 1 does, which the engine from NuGet brings no module for.
            var first = Program.Invoke(
                runspace,
                "do { Get-WandbLaunchQueueItem many | ForEach-Object { $first = $_; break } } while ($false)"
            );
            var removed = Program.Invoke(runspace, "$pushed | Remove-WandbLaunchQueueItem -Confirm:$false");
            if (i > 0)
            {
                Console.WriteLine($"{removed} {added} {first}");
            }
        }

        return 0;
    }
}
