using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>
/// Hands runs over to sbatch. Those that come within a moment and ask for the same, as the combinations of a grid do, become
/// the tasks of one array.
/// </summary>
internal sealed class SlurmSubmission(SlurmSites sites)
{
    /// <summary>Slurm's default for the highest number of a task is 1000.</summary>
    private const int MostTasks = 1000;

    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(60);
    private static readonly TimeSpan MostPause = TimeSpan.FromSeconds(5);

    // The more there are, the longer the next one is waited for: they come from one grid, on a machine that is busy with them.
    private static TimeSpan PauseOf(int count) => Pause + (Pause * Math.Min(count, 120) / 20);

    private static readonly TimeSpan Step = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    private readonly object _lock = new();
    private readonly Dictionary<string, Batch> _batches = new(StringComparer.Ordinal);

    /// <summary>The job of a run: made now, or found where it was made before.</summary>
    internal async Task<RunHandle> SubmitAsync(
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        CancellationToken token
    )
    {
        var data = spec.DataAs<SlurmData>();
        var site = sites.Get(data.Place);
        var (root, _) = await site.OpenAsync(token);
        var run = new Run(spec, data, secrets);
        var key = string.Join(
            '\n',
            [data.Place, data.Code ?? "", $"{data.Requeue} {data.Srun} {data.Throttle}", .. data.Options]
        );
        Batch batch;
        lock (_lock)
        {
            if (!_batches.TryGetValue(key, out batch!))
            {
                _batches[key] = batch = new Batch();
                _ = SendAsync(key, batch, site, root);
            }

            batch.Add(run, sites.Time.GetTimestamp());
            if (batch.Runs.Count == MostTasks)
            {
                _batches.Remove(key);
            }
        }

        return await run.Handle.Task.WaitAsync(token);
    }

    // A moment after the last that came, for more may come.
    private async Task SendAsync(string key, Batch batch, SlurmSite site, string root)
    {
        var first = sites.Time.GetTimestamp();
        await Task.Delay(Pause, sites.Time);
        while (true)
        {
            lock (_lock)
            {
                if (
                    batch.Runs.Count >= MostTasks
                    || sites.Time.GetElapsedTime(batch.Last) >= PauseOf(batch.Runs.Count - 1)
                    || sites.Time.GetElapsedTime(first) >= MostPause
                )
                {
                    if (_batches.GetValueOrDefault(key) == batch)
                    {
                        _batches.Remove(key);
                    }

                    break;
                }
            }

            await Task.Delay(Step, sites.Time);
        }

        // Each id once: the same run started twice is one job.
        var runs = batch.Runs.GroupBy(r => r.Spec.Id).Select(g => g.First()).ToList();
        var twins = batch.Runs.Except(runs).ToList();
        await SendAsync(site, root, runs);
        foreach (var twin in twins)
        {
            var same = runs.First(r => r.Spec.Id == twin.Spec.Id);
            await PassOnAsync(same, twin);
        }
    }

    private static async Task PassOnAsync(Run from, Run to)
    {
        try
        {
            to.Handle.TrySetResult(await from.Handle.Task);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            to.Handle.TrySetException(e);
        }
    }

    private static async Task SendAsync(SlurmSite site, string root, IReadOnlyList<Run> runs)
    {
        try
        {
            var answer = await SubmitAsync(site, root, runs);
            if (answer.Key is { } key)
            {
                for (var i = 0; i < runs.Count; i++)
                {
                    Done(site, runs[i], runs.Count == 1 ? key : new SlurmKey(key.Id, i));
                }

                return;
            }

            // Those that an agent which was killed handed over; the others are one array again, or each alone where the cluster takes no such array.
            foreach (var run in runs)
            {
                if (answer.Known.TryGetValue(run.Spec.Id, out var known))
                {
                    Done(site, run, known);
                }
            }

            var rest = runs.Where(r => !answer.Known.ContainsKey(r.Spec.Id)).ToList();
            foreach (
                var part in answer.Known.Count > 0 && rest.Count > 0
                    ? [rest]
                    : rest.Select(r => new[] { r }).ToList<IReadOnlyList<Run>>()
            )
            {
                await SendAsync(site, root, part);
            }
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            foreach (var run in runs)
            {
                run.Handle.TrySetException(e);
            }
        }
    }

    private static void Done(SlurmSite site, Run run, SlurmKey key) =>
        run.Handle.TrySetResult(new RunHandle(SlurmResource.HandleKind, key.ToString(), site.Place.ToString()));

    // No key: some are known, or it cannot be an array.
    private static async Task<(SlurmKey? Key, IReadOnlyDictionary<string, SlurmKey> Known)> SubmitAsync(
        SlurmSite site,
        string root,
        IReadOnlyList<Run> runs
    )
    {
        var first = runs[0];
        var ids = runs.Select(r => r.Spec.Id).ToList();
        var name = NameOf(first.Spec.Id);

        // % means something to Slurm in the names of files.
        var log = $"{root}/runs/{first.Spec.Id}/output.log".Replace("%", "%%", StringComparison.Ordinal);
        string[] array =
            runs.Count == 1
                ? [$"--output={log}"]
                :
                [
                    "--output=/dev/null",
                    $"--array=0-{runs.Count - 1}{(first.Data.Throttle is { } most ? $"%{most}" : "")}",
                ];
        var script = SlurmBatch.Text(root, ids, first.Data);
        var result = await site.RunAsync(
            SlurmScripts.Submit,
            [
                root,
                name,
                runs.Count.ToString(System.Globalization.CultureInfo.InvariantCulture),
                .. ids,
                "--open-mode=append",
                .. array,
                .. first.Data.Options,
            ],
            (stream, t) => SlurmCode.WriteAsync(stream, Files(root, runs, name, script), t),
            Limit,
            CancellationToken.None,
            true
        );
        var known = new Dictionary<string, SlurmKey>(StringComparer.Ordinal);
        var job = "";
        foreach (var line in SlurmSite.Lines(result.Output))
        {
            var words = line.Split(' ');
            if (words is ["known", var id, var text] && SlurmKey.Parse(text) is { } mine)
            {
                known[id] = mine;
            }

            job = words is ["job", var made] ? made : job;
        }

        switch (result.ExitCode)
        {
            case 0 when SlurmKey.Parse(job) is { } key:
                return (key, known);
            case 3 when known.Count > 0:
                return (null, known);
            case 4 when runs.Count > 1 && result.Error.Contains("array", StringComparison.OrdinalIgnoreCase):
                return (null, known);
            case 4:
                throw new LaunchException(
                    "SlurmRefused",
                    LaunchErrorCategory.InvalidArgument,
                    $"Slurm did not take the job: {SlurmSite.Last(Plain(result.Error))} Change -ResourceArgs @{{ slurm = @{{ … }} }}; -WhatIf asks Slurm without starting anything.",
                    first.Spec.Id
                );
            default:
                throw site.Unavailable(result);
        }
    }

    /// <summary>What sbatch says without the words that stand before each of its lines.</summary>
    internal static string Plain(string error) =>
        string.Join(
            '\n',
            SlurmSite
                .Lines(error)
                .Select(l =>
                    l.Replace("sbatch: error: ", "", StringComparison.Ordinal)
                        .Replace("sbatch: ", "", StringComparison.Ordinal)
                        .Replace("Batch job submission failed: ", "", StringComparison.Ordinal)
                )
        );

    private static IEnumerable<(string Path, string Text)> Files(
        string root,
        IReadOnlyList<Run> runs,
        string name,
        string script
    )
    {
        var first = runs[0].Spec.Id;
        for (var i = 0; i < runs.Count; i++)
        {
            var (spec, data) = (runs[i].Spec, runs[i].Data);
            var folder = "runs/" + spec.Id;
            var variables = new SortedDictionary<string, string>(StringComparer.Ordinal);
            foreach (var (key, value) in spec.Environment.Concat(runs[i].Secrets))
            {
                variables[key] = value;
            }

            variables.TryAdd("PYTHONUNBUFFERED", "1");
            if (data.LaunchConfigJson is { } config)
            {
                variables["WANDB_LAUNCH_CONFIG_PATH"] = $"{root}/{folder}/launch-config.json";
                yield return ($"{folder}/launch-config.json", config);
            }

            yield return ($"{folder}/env", SlurmBatch.Variables(variables));
            yield return ($"{folder}/command", SlurmBatch.Command(spec, data, variables.Keys));
            if (data.Keep)
            {
                yield return ($"{folder}/keep", "");
            }

            yield return ($"{folder}/batch", $"{name} {(runs.Count == 1 ? "-" : i)} {first}\n");
        }

        yield return ($"runs/{first}/job.sh", script);
    }

    /// <summary>What a job is called: of the launch, so that it is found again by whoever does not know its number.</summary>
    internal static string NameOf(string id) => "wandblaunch-" + id;

    private sealed record Run(RunSpec Spec, SlurmData Data, IReadOnlyDictionary<string, string> Secrets)
    {
        internal TaskCompletionSource<RunHandle> Handle { get; } =
            new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    private sealed class Batch
    {
        internal List<Run> Runs { get; } = [];

        internal long Last { get; private set; }

        internal void Add(Run run, long now)
        {
            Runs.Add(run);
            Last = now;
        }
    }
}
