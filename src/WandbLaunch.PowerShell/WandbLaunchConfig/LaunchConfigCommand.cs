using System.Collections;
using System.Management.Automation;
using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

/// <summary>The parameters that make a launch config; shared by the commands that take one.</summary>
public abstract class LaunchConfigCommand : AsyncPSCmdlet
{
    internal const string ConfigType = "WandbLaunch.LaunchConfig";

    /// <summary>What to launch: the address of a W&amp;B run, a git URL (with @branch, @tag or @commit, and #folder), or a folder.</summary>
    [Parameter(Position = 0)]
    [Alias("Url")]
    [ValidateNotNullOrEmpty]
    public string? Uri { get; set; }

    /// <summary>A job to launch: entity/project/name:alias, or an object of Get-WandbLaunchJob.</summary>
    [Parameter]
    [Alias("j")]
    [ValidateNotNullOrEmpty]
    [ArgumentCompleter(typeof(JobCompleter))]
    public string? Job { get; set; }

    /// <summary>A launch config to start from: a path to a JSON or YAML file, a JSON or YAML text, a hashtable, or an object of New-WandbLaunchConfig. The other parameters win over it.</summary>
    [Parameter]
    [Alias("c")]
    public object? Config { get; set; }

    /// <summary>From the pipeline: launch configs, runs of Get-WandbRun, addresses, folders, or hashtables.</summary>
    [Parameter(ValueFromPipeline = true)]
    public PSObject? InputObject { get; set; }

    /// <summary>Target project. Default: the run's own, for git the repository's name, else uncategorized.</summary>
    [Parameter]
    [Alias("p")]
    [ArgumentCompleter(typeof(ProjectCompleter))]
    public string? Project { get; set; }

    /// <summary>Target entity. Default: the connection's.</summary>
    [Parameter]
    [Alias("e")]
    [ArgumentCompleter(typeof(EntityCompleter))]
    public string? Entity { get; set; }

    /// <summary>Display name of the new run. Default: W&amp;B's name generator.</summary>
    [Parameter]
    [Alias("n")]
    public string? Name { get; set; }

    /// <summary>Where it runs: local-container (default, alias local), local-process, or slurm, a job of a Slurm cluster.</summary>
    [Parameter]
    [Alias("r")]
    [ArgumentCompleter(typeof(ResourceCompleter))]
    public string? Resource { get; set; }

    /// <summary>Arguments of resources, by resource: @{ 'local-container' = @{ memory = '4g' } }, @{ slurm = @{ partition = 'gpu'; time = '2:00:00'; gpus = 1 } }.</summary>
    [Parameter]
    public IDictionary? ResourceArgs { get; set; }

    /// <summary>Docker image to run. It holds its own code and packages; nothing is built.</summary>
    [Parameter]
    [Alias("d")]
    public string? DockerImage { get; set; }

    /// <summary>User id in the container. Default 1000.</summary>
    [Parameter]
    [ValidateRange(0, int.MaxValue)]
    public int? UserId { get; set; }

    /// <summary>Docker arguments, as a hashtable or as name=value: cpus, memory, gpus, shm-size, env, ulimit and others of a fixed list.</summary>
    [Parameter]
    [Alias("A")]
    public object? DockerArgs { get; set; }

    /// <summary>Image to build on. Default: Debian's Python image of the run's version; CUDA with a GPU.</summary>
    [Parameter]
    public string? BaseImage { get; set; }

    /// <summary>Python version. Default: the run's own.</summary>
    [Parameter]
    public string? PythonVersion { get; set; }

    /// <summary>CUDA version of the base image. Default: the run's own.</summary>
    [Parameter]
    public string? CudaVersion { get; set; }

    /// <summary>Debian packages to install in the image, such as git or libgl1.</summary>
    [Parameter]
    public string[]? SystemPackage { get; set; }

    /// <summary>Commit, branch or tag to use instead of the run's commit. The run's uncommitted changes are not applied then.</summary>
    [Parameter]
    [Alias("g")]
    [ArgumentCompleter(typeof(GitVersionCompleter))]
    public string? GitVersion { get; set; }

    /// <summary>Git repository to use instead of the one that the run names.</summary>
    [Parameter]
    public string? GitRepo { get; set; }

    /// <summary>Arguments for the program: a hashtable, name=value, a list of words, or a script block that gives one of these for what comes from the pipeline: { @{ lr = $_.Config.lr / 2 } }. Named ones take the place of the run's own.</summary>
    [Parameter]
    [Alias("ArgsList", "Arguments")]
    [ArgumentCompleter(typeof(ArgumentNameCompleter))]
    public object[]? Argument { get; set; }

    /// <summary>Values for wandb.config.</summary>
    [Parameter]
    [NameValue]
    [ArgumentCompleter(typeof(RunConfigCompleter))]
    public IDictionary? RunConfig { get; set; }

    /// <summary>Command to run, as words or as one text: python train.py. Default: the run's program, else main.py.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(EntryPointCompleter))]
    public string[]? EntryPoint { get; set; }

    /// <summary>Use the GPU or not. Default: as the original run.</summary>
    [Parameter]
    public bool? Cuda { get; set; }

    /// <summary>Id of the new run. Default: 8 random characters.</summary>
    [Parameter]
    public string? RunId { get; set; }

    /// <summary>Longest time that the run may run, as 2h, 90m or 02:00:00; then it is stopped, and fails with that reason. Default: no limit. In a queue, its own and its agent's limits count too: the smallest holds.</summary>
    [Parameter]
    [Span]
    public TimeSpan? TimeLimit { get; set; }

    /// <summary>Longest time until the program runs, as 30m, with everything before it: building, installing, waiting for a cluster; then it is given up, and fails. In a queue it counts from when an agent takes the item.</summary>
    [Parameter]
    [Span]
    public TimeSpan? StartLimit { get; set; }

    /// <summary>Take launch configs with keys that this version does not know; they go through untouched. Default: such a key is an error, for it is mistyped as a rule.</summary>
    [Parameter]
    public SwitchParameter AllowUnknownKey { get; set; }

    /// <summary>Take empty cells of a table's row as arguments that are empty. Default: they are left out.</summary>
    [Parameter]
    public SwitchParameter KeepEmpty { get; set; }

    private readonly ShellJson _json = new();
    private LaunchInput? _input;
    private LaunchConfig? _parameters;
    private bool _warned;

    /// <summary>The config that the input and the parameters make together (protocol C.2); from any thread.</summary>
    private protected Task<LaunchConfig> BuildConfigAsync() =>
        HasScript ? AskAsync(BuildConfig) : Task.FromResult(BuildConfig());

    // A script is run for each input, and on the pipeline's thread, which is where its variables are.
    private bool HasScript => Argument?.Any(a => ShellJson.Base(a) is ScriptBlock) == true;

    /// <summary>The same, on the pipeline's thread.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal LaunchConfig BuildConfig()
    {
        _input ??= new LaunchInput(_json, WorkingFolder, FullAddress)
        {
            RowsAreArguments = Uri is not null || Job is not null || Config is not null,
            KeepsEmpty = KeepEmpty,
            AllowsUnknownKeys = AllowUnknownKey,
        };
        var config = InputObject is null ? new LaunchConfig() : _input.Read(InputObject, false);
        if (Config is not null)
        {
            config = config.Merge(_input.Read(Config, true));
        }

        if (HasScript)
        {
            return config.Merge(ParameterConfig() with { Args = Arguments(Scripted(Argument!)) });
        }

        // None of them comes from the pipeline: the same for every input.
        return config.Merge(_parameters ??= ParameterConfig() with { Args = Arguments(Argument) });
    }

    /// <summary>An address; a path of a drive of this session as one of the file system.</summary>
    private string FullAddress(string text)
    {
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        return
            colon > 1
            && !text.AsSpan(colon).StartsWith("://", StringComparison.Ordinal)
            && SessionState.Drive.GetAll().Any(d => d.Name.Equals(text[..colon], StringComparison.OrdinalIgnoreCase))
            ? FullPath(text)
            : text;
    }

    // -Argument { @{ lr = $_.Config.lr * 2 } }: with the input as $_, as in other commands.
    private object[] Scripted(object[] values) =>
        [
            .. values.SelectMany(v =>
            {
                if (ShellJson.Base(v) is not ScriptBlock script)
                {
                    return [v];
                }

                try
                {
                    return script
                        .InvokeWithContext(null, [new PSVariable("_", InputObject)], [])
                        .Where(o => o is not null)
                        .Cast<object>();
                }
                catch (RuntimeException e) when (e is not PipelineStoppedException)
                {
                    throw new LaunchException(
                        "ArgumentScriptFailed",
                        LaunchErrorCategory.InvalidArgument,
                        $"The script of -Argument failed for this input: {e.Message}",
                        InputObject,
                        e
                    );
                }
            }),
        ];

    private LaunchConfig ParameterConfig() =>
        new()
        {
            Uri = Uri is null || JobPath.IsPage(Uri) ? null : FullAddress(Uri),
            Job = Job ?? (Uri is not null && JobPath.IsPage(Uri) ? JobPath.Parse(Uri).ToString() : null),
            Project = Project,
            Entity = Entity,
            Name = Name,
            Resource = Resource,
            ResourceArgs = Map(ResourceArgs),
            DockerImage = DockerImage,
            UserId = UserId,
            DockerArgs = DockerArgs is null ? null : DockerMap(DockerArgs),
            BaseImage = BaseImage,
            PythonVersion = PythonVersion,
            CudaVersion = CudaVersion,
            SystemPackages = SystemPackage,
            GitVersion = GitVersion,
            GitRepo = GitRepo,
            RunConfig = Map(RunConfig),
            EntryPoint =
                EntryPoint is null ? null
                : EntryPoint is [var text] ? CommandLine.Split(text)
                : EntryPoint,
            Cuda = Cuda,
            RunId = RunId,
            TimeLimit = TimeLimit,
            StartLimit = StartLimit,
        };

    /// <summary>The config as an object whose ConvertTo-Json is a valid launch config file.</summary>
    internal static PSObject ToObject(LaunchConfig config)
    {
        var shell = (PSObject)ToShell(config.ToJson())!;
        shell.TypeNames.Insert(0, ConfigType);
        return shell;
    }

    private static object? ToShell(JsonNode? node)
    {
        switch (node)
        {
            case JsonObject map:
                var shell = new PSObject();
                foreach (var (key, value) in map)
                {
                    shell.Properties.Add(new PSNoteProperty(key, ToShell(value)));
                }

                return shell;
            case JsonArray list:
                return list.Select(ToShell).ToArray();
            default:
                return ArgumentSet.Plain(node);
        }
    }

    // Three forms (protocol C): a hashtable, name=value, or words.
    private ArgumentSet? Arguments(object[]? values)
    {
        if (values is null)
        {
            return null;
        }

        ArgumentSet? all = null;
        var words = new List<string>();
        foreach (var value in values.Select(ShellJson.Base))
        {
            if (value is IDictionary map)
            {
                all = ArgumentSet.Merge(
                    all,
                    ArgumentSet.FromPairs(
                        ShellJson
                            .Entries(map)
                            .Select(e => new KeyValuePair<string, object?>(
                                e.Key.TrimStart('-'),
                                e.Value is not string and not IDictionary and IEnumerable many
                                    ? many.Cast<object?>().Select(ShellJson.Base).ToArray()
                                    : ShellJson.Base(e.Value)
                            ))
                    )
                );
            }
            else
            {
                words.Add(ArgumentSet.Word(value));
                WarnOfOneWord(words[^1]);
            }
        }

        return words.Count > 0 ? ArgumentSet.Merge(all, ArgumentSet.FromWords(words)) : all;
    }

    // '--lr 5' is one word to a program, which is hardly ever meant.
    private void WarnOfOneWord(string word)
    {
        var blank = word.AsSpan().IndexOfAny(' ', '\t');
        if (!_warned && blank > 1 && word[0] == '-' && !word.AsSpan(0, blank).Contains('='))
        {
            _warned = true;
            Warn(
                $"The argument '{word}' is one word with a blank in it. For a name and its value give a list, -Argument '{word[..blank].Replace("'", "''", StringComparison.Ordinal)}', {CommandLine.Show([word[(blank + 1)..].Trim()])}, or a table, -Argument @{{ {word[..blank].TrimStart('-')} = {CommandLine.Show([word[(blank + 1)..].Trim()])} }}."
            );
        }
    }

    private static JsonObject DockerMap(object value)
    {
        if (ShellJson.Base(value) is IDictionary map)
        {
            return Map(map)!;
        }

        var result = new JsonObject();
        foreach (
            var text in (
                ShellJson.Base(value) is string one
                    ? [one]
                    : ((IEnumerable)ShellJson.Base(value)!).Cast<object>().Select(v => ShellJson.Base(v)!.ToString()!)
            )
        )
        {
            var cut = text.IndexOf('=', StringComparison.Ordinal);
            if (cut <= 0)
            {
                throw new LaunchException(
                    "DockerArgumentInvalid",
                    LaunchErrorCategory.InvalidArgument,
                    $"The docker argument '{text}' is not name=value.",
                    text
                );
            }

            var name = text[..cut].TrimStart('-');
            result[name] =
                result[name] is JsonArray list ? Append(list, text[(cut + 1)..])
                : result[name] is { } first ? new JsonArray(first.DeepClone(), text[(cut + 1)..])
                : JsonValue.Create(text[(cut + 1)..]);
        }

        return result;

        static JsonArray Append(JsonArray list, string value)
        {
            var copy = (JsonArray)list.DeepClone();
            copy.Add(value);
            return copy;
        }
    }

    /// <summary>A table as JSON. One that holds itself, or is too deep or too large, is refused.</summary>
    internal static JsonObject? Map(IDictionary? map) => map is null ? null : ShellJson.Tree(map);

    /// <summary>A table that is a property of an object, live or read from a file, as JSON; empty where there is none.</summary>
    internal static JsonObject MapOf(PSObject of, string property) =>
        ShellJson.Base(of.Properties[property]?.Value) is var map and (IDictionary or PSObject)
            ? ShellJson.Tree(map)
            : [];
}
