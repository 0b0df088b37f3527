using System.Text;
using System.Text.Json.Nodes;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>Many runs at a time on a real Slurm.</summary>
[Collection(SlurmCollection.Name)]
[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed class SlurmArrayTests
{
    private static async Task<List<PreparedLaunch>> PrepareAsync(
        SlurmMachine slurm,
        LaunchStore store,
        string script,
        int count,
        JsonObject? arguments = null
    )
    {
        var all = new PreparedLaunch[count];
        all[0] = await PrepareAsync(0);
        await Parallel.ForEachAsync(
            Enumerable.Range(1, count - 1),
            new ParallelOptions { MaxDegreeOfParallelism = 16 },
            async (i, _) => all[i] = await PrepareAsync(i)
        );
        return [.. all];

        Task<PreparedLaunch> PrepareAsync(int i) =>
            slurm.PrepareAsync(store, script, (JsonObject?)arguments?.DeepClone(), words: [$"{i}"]);
    }

    private static async Task<List<RunHandle>> StartAsync(LaunchStore store, IReadOnlyList<PreparedLaunch> launches)
    {
        var resource = store.Resources.Get("slurm");
        return [.. await Task.WhenAll(launches.Select(l => resource.StartAsync(l.Spec, l.Secrets, default)))];
    }

    [Fact]
    public async Task Five_hundred_that_ask_for_the_same_are_tasks_of_an_array()
    {
        using var slurm = new SlurmMachine();
        var store = slurm.Store();
        var launches = await PrepareAsync(slurm, store, "true", 500, new JsonObject { ["begin"] = "now+1hour" });

        // The folders are there, and what is started at once is started at once.
        await store.Resources.Get("slurm").FindAsync(launches[0].Spec, default);
        var handles = await StartAsync(store, launches);
        var arrays = handles.Select(h => SlurmKey.Parse(h.Id)!.Value).GroupBy(k => k.Id).ToList();
        foreach (var array in arrays)
        {
            SlurmMachine.Command("scancel", array.Key.ToString(System.Globalization.CultureInfo.InvariantCulture));
            Assert.Equal(Enumerable.Range(0, array.Count()), array.Select(k => k.Task ?? 0).Order());
        }

        // One, where they all come within a second; a machine that is busy with other things takes longer to say so.
        Assert.InRange(arrays.Count, 1, 10);

        // One question for all of them.
        var look = await store
            .Resources.Get("slurm")
            .LookAsync([.. launches.Zip(handles, (l, h) => l.Run with { Handle = h })], default);
        Assert.Equal(500, look.Count);
        Assert.All(look.Values, s => Assert.True(s.End!.Stopped));
    }

    [Fact]
    public async Task Each_task_has_its_own_words_variables_log_and_end()
    {
        using var slurm = new SlurmMachine();
        var store = slurm.Store();
        var launches = await PrepareAsync(
            slurm,
            store,
            "echo \"task $1 of $WANDB_RUN_ID\"; pwd; exit $(($1 % 7))",
            60,
            new JsonObject { ["array_throttle"] = 24 }
        );
        using var supervision = new Supervision(store.Resources);
        var runs = await Task.WhenAll(
            launches.Select(l => supervision.RunAsync(l.Folder, l.Spec, l.Secrets, null, null, false, default))
        );
        Assert.Single(runs.Select(r => SlurmKey.Parse(r.Handle!.Id)!.Value.Id).Distinct());
        for (var i = 0; i < runs.Length; i++)
        {
            Assert.Equal(i % 7, runs[i].ExitCode);
            Assert.Equal(i % 7 == 0 ? LaunchState.Finished : LaunchState.Failed, runs[i].State);
            Assert.Equal(
                $"task {i} of {runs[i].Id}\n{slurm.Runs}/{runs[i].Id}/code\n",
                File.ReadAllText(runs[i].LogPath!)
            );
        }

        Assert.Empty(Directory.GetDirectories(slurm.Runs));
    }

    [Fact]
    public async Task One_task_is_stopped_and_the_others_go_on()
    {
        using var slurm = new SlurmMachine();
        var store = slurm.Store();
        var launches = await PrepareAsync(slurm, store, "[ $1 = 1 ] && sleep 60; sleep 1", 3);
        using var supervision = new Supervision(store.Resources);
        var runs = launches
            .Select(l => supervision.RunAsync(l.Folder, l.Spec, l.Secrets, null, null, false, default))
            .ToList();
        var others = await Task.WhenAll(runs[0], runs[2]);
        Assert.All(others, r => Assert.Equal(LaunchState.Finished, r.State));
        LaunchStore.AskStop(launches[1].Folder);
        Assert.Equal(LaunchState.Stopped, (await runs[1]).State);
    }

    [Fact]
    public async Task Those_that_were_handed_over_before_are_found_and_the_others_made()
    {
        using var slurm = new SlurmMachine();
        var store = slurm.Store();
        var launches = await PrepareAsync(slurm, store, $"echo \"$1\" >> '{slurm.Folder}/ran'; sleep 1", 4);
        var first = await StartAsync(store, launches.Take(2).ToList());

        // As after a kill: another process starts all four.
        var all = await StartAsync(slurm.Store(), launches);
        Assert.Equal(first, all.Take(2));
        Assert.Equal(4, all.Select(h => h.Id).Distinct().Count());
        await SlurmMachine.UntilAsync(
            () => launches.All(l => File.Exists(Path.Combine(slurm.Runs, l.Run.Id, "exit"))),
            "all end"
        );
        Assert.Equal(["0", "1", "2", "3"], File.ReadAllLines(Path.Combine(slurm.Folder, "ran")).Order());
    }

    [Fact]
    public async Task Nothing_secret_is_where_Slurm_keeps_things_or_in_a_process_list()
    {
        const string Secret = "secret-that-nobody-sees";
        using var slurm = new SlurmMachine();
        var store = slurm.Store();
        var options = slurm.Options with
        {
            ApiKey = "key-that-nobody-sees-0123456789012345678901",
            Environment = new Dictionary<string, string> { ["MY_TOKEN"] = Secret },
        };
        var waiting = await slurm.PrepareAsync(store, "sleep 60", new JsonObject { ["begin"] = "now+1hour" }, options);
        var running = await slurm.PrepareAsync(store, "echo \"$MY_TOKEN $WANDB_API_KEY\"; sleep 60", null, options);
        var seen = new List<string>();
        using var look = new CancellationTokenSource();
        var looking = Task.Run(() =>
        {
            // While they are handed over, too.
            while (!look.IsCancellationRequested)
            {
                seen.AddRange(CommandLines().Where(c => c.Contains("that-nobody-sees", StringComparison.Ordinal)));
            }
        });
        var handles = await StartAsync(store, [waiting, running]);
        try
        {
            var log = Path.Combine(slurm.Runs, running.Run.Id, "output.log");
            await SlurmMachine.UntilAsync(() => File.Exists(log) && new FileInfo(log).Length > 0, "it prints");
            await look.CancelAsync();
            await looking;
            Assert.Equal($"{Secret} {options.ApiKey}\n", File.ReadAllText(log));
            Assert.Empty(seen);

            // The controller writes its state down within seconds; the environment and the script of a job at once.
            Assert.Contains(
                Directory.EnumerateFiles(
                    Path.Combine(SlurmMachine.Engine!, "state"),
                    "environment",
                    SearchOption.AllDirectories
                ),
                f => f.Contains("job." + handles[0].Id, StringComparison.Ordinal)
            );
            foreach (
                var file in new[] { "state", "spool", "log" }.SelectMany(f =>
                    Directory.EnumerateFiles(
                        Path.Combine(SlurmMachine.Engine!, f),
                        "*",
                        new EnumerationOptions
                        {
                            RecurseSubdirectories = true,
                            AttributesToSkip = FileAttributes.Device,
                        }
                    )
                )
            )
            {
                if (Path.GetExtension(file) is ".socket" or ".sock" || file.Contains("sock", StringComparison.Ordinal))
                {
                    continue;
                }

                Assert.DoesNotContain(
                    "that-nobody-sees",
                    Encoding.Latin1.GetString(Read(file)),
                    StringComparison.Ordinal
                );
            }

            Assert.DoesNotContain(
                "that-nobody-sees",
                SlurmMachine.Command("scontrol", "show", "job", "-dd", handles[1].Id),
                StringComparison.Ordinal
            );

            // Of its folder nobody else reads anything.
            var folder = Path.Combine(slurm.Runs, running.Run.Id);
            Assert.Equal(
                UnixFileMode.UserRead | UnixFileMode.UserWrite,
                File.GetUnixFileMode(Path.Combine(folder, "env"))
            );
            Assert.Equal(
                UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute,
                File.GetUnixFileMode(folder)
            );

            // What was kept for launching again holds none either.
            Assert.DoesNotContain(
                "that-nobody-sees",
                string.Concat(
                    Directory
                        .EnumerateFiles(running.Folder, "*", SearchOption.AllDirectories)
                        .Where(f => !f.EndsWith("output.log", StringComparison.Ordinal))
                        .Select(File.ReadAllText)
                ),
                StringComparison.Ordinal
            );
        }
        finally
        {
            handles.ForEach(h => SlurmMachine.Command("scancel", h.Id));
        }
    }

    private static byte[] Read(string file)
    {
        try
        {
            return File.ReadAllBytes(file);
        }
        catch (IOException)
        {
            return [];
        }
    }

    private static IEnumerable<string> CommandLines()
    {
        foreach (var folder in Directory.EnumerateDirectories("/proc").Where(f => int.TryParse(f[6..], out _)))
        {
            string words;
            try
            {
                words = File.ReadAllText(folder + "/cmdline");
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                continue;
            }

            yield return words;
        }
    }
}
