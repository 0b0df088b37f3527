using System.Collections;
using System.Management.Automation;
using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>The parameters that make a launch config; shared by the commands that take one.</summary>
public abstract class LaunchConfigCommand : AsyncPSCmdlet
{
    internal const string ConfigType = "WandbLaunch.LaunchConfig";

    // What a launch config has and a table of arguments has not.
    private static readonly string[] ConfigKeys = ["uri", "overrides", "docker", "git", "resource_args", "job"];

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

    /// <summary>Where it runs: local-container (default, alias local) or local-process.</summary>
    [Parameter]
    [Alias("r")]
    [ArgumentCompleter(typeof(ResourceCompleter))]
    public string? Resource { get; set; }

    /// <summary>Arguments of resources, by resource: @{ 'local-container' = @{ memory = '4g' } }.</summary>
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

    /// <summary>Arguments for the program: a hashtable, name=value, or a list of words. Named ones take the place of the run's own.</summary>
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

    /// <summary>The config that the input and the parameters make together (protocol C.2).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal LaunchConfig BuildConfig()
    {
        var config = InputObject is null ? new LaunchConfig() : FromObject(InputObject);
        if (Config is not null)
        {
            config = config.Merge(FromObject(Config));
        }

        // None of them comes from the pipeline: the same for every input.
        return config.Merge(_parameters ??= ParameterConfig());
    }

    private LaunchConfig? _parameters;

    private LaunchConfig ParameterConfig() =>
        new()
        {
            Uri = Uri is not null && JobPath.IsPage(Uri) ? null : Uri,
            Job = Job ?? (Uri is not null && JobPath.IsPage(Uri) ? JobPath.Parse(Uri).ToString() : null),
            Project = Project,
            Entity = Entity,
            Name = Name,
            Resource = Resource,
            ResourceArgs = Map(ResourceArgs),
            DockerImage = DockerImage,
            UserId = UserId,
            DockerArgs = DockerArgs is null ? null : DockerArguments(DockerArgs),
            BaseImage = BaseImage,
            PythonVersion = PythonVersion,
            CudaVersion = CudaVersion,
            SystemPackages = SystemPackage,
            GitVersion = GitVersion,
            GitRepo = GitRepo,
            Args = Arguments(Argument),
            RunConfig = Map(RunConfig),
            EntryPoint =
                EntryPoint is null ? null
                : EntryPoint is [var text] ? CommandLine.Split(text)
                : EntryPoint,
            Cuda = Cuda,
            RunId = RunId,
        };

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal LaunchConfig FromObject(object value)
    {
        var shell = value as PSObject ?? PSObject.AsPSObject(value);
        switch (shell.BaseObject)
        {
            case string text
                when ReferenceEquals(value, Config)
                    || text.TrimStart().StartsWith('{')
                    || text.Contains('\n', StringComparison.Ordinal):
                return LaunchConfig.Read(text, WorkingFolder);
            case string text:
                return new LaunchConfig { Uri = text };
            case Uri uri:
                return new LaunchConfig { Uri = uri.OriginalString };
            case FileSystemInfo file:
                return file is FileInfo && (file.Extension is ".json" or ".yaml" or ".yml")
                    ? LaunchConfig.Read(file.FullName, WorkingFolder)
                    : new LaunchConfig { Uri = file.FullName };
            case IDictionary map:
                return LaunchConfig.FromOwnJson(Map(map)!);
            case WandbLaunch.Wandb.WandbLaunchQueueItem { Spec: { } spec }:
                // The same again, as a run of its own.
                return LaunchConfig.FromJson(spec) with { RunId = null };
            case WandbLaunchJob job:
                return new LaunchConfig { Job = job.Job };
            case WandbLaunch.Wandb.WandbRun run:
                // Only the address: the new run goes to the run's project, the user's entity, under a name of its own.
                return new LaunchConfig { Uri = run.Uri };
        }

        if (shell.BaseObject is PSCustomObject)
        {
            // A row of a table beside an address: its columns are arguments.
            var map = Map(shell);
            return
                (Uri is not null || Job is not null || Config is not null)
                && !shell.TypeNames.Contains(ConfigType)
                && !ConfigKeys.Any(map.ContainsKey)
                ? new LaunchConfig
                {
                    Args = ArgumentSet.FromPairs(
                        map.Select(p => new KeyValuePair<string, object?>(p.Key, ArgumentSet.Plain(p.Value)))
                    ),
                }
                : LaunchConfig.FromOwnJson(map);
        }

        return shell.Properties["Uri"]?.Value?.ToString() is { Length: > 0 } address
            ? new LaunchConfig { Uri = address }
            : throw new LaunchException(
                "InputNotSupported",
                LaunchErrorCategory.InvalidArgument,
                $"A {shell.BaseObject.GetType().Name} cannot be launched. Give a run, an address, a folder, a hashtable or an object of New-WandbLaunchConfig.",
                shell
            );
    }

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
    private static ArgumentSet? Arguments(object[]? values)
    {
        if (values is null)
        {
            return null;
        }

        ArgumentSet? all = null;
        var words = new List<string>();
        foreach (var value in values.Select(Base))
        {
            if (value is IDictionary map)
            {
                all = ArgumentSet.Merge(
                    all,
                    ArgumentSet.FromPairs(
                        Entries(map)
                            .Select(e => new KeyValuePair<string, object?>(
                                e.Key.TrimStart('-'),
                                e.Value is not string and not IDictionary and IEnumerable many
                                    ? many.Cast<object?>().Select(Base).ToArray()
                                    : Base(e.Value)
                            ))
                    )
                );
            }
            else
            {
                words.Add(ArgumentSet.Word(value));
            }
        }

        return words.Count > 0 ? ArgumentSet.Merge(all, ArgumentSet.FromWords(words)) : all;
    }

    private static JsonObject DockerArguments(object value)
    {
        if (Base(value) is IDictionary map)
        {
            return Map(map)!;
        }

        var result = new JsonObject();
        foreach (
            var text in (
                Base(value) is string one
                    ? [one]
                    : ((IEnumerable)Base(value)!).Cast<object>().Select(v => Base(v)!.ToString()!)
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
    internal static JsonObject? Map(IDictionary? map) => map is null ? null : Map(map, LaunchConfig.NewLimits(), 0);

    /// <summary>A table that is a property of an object, live or read from a file, as JSON; empty where there is none.</summary>
    internal static JsonObject MapOf(PSObject of, string property) =>
        Base(of.Properties[property]?.Value) switch
        {
            IDictionary map => Map(map) ?? [],
            PSObject shell => Map(shell),
            _ => [],
        };

    // Loops and not queries: this is walked for each of ten thousand items.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static JsonObject Map(IDictionary map, TreeLimits limits, int depth)
    {
        limits.Add(depth + 1);
        var result = new JsonObject();
        foreach (var (key, value) in Entries(map))
        {
            result[key] = Node(value, limits, depth + 1);
        }

        return result;
    }

    private static JsonObject Map(PSObject shell) => Map(shell, LaunchConfig.NewLimits(), 0);

    private static JsonObject Map(PSObject shell, TreeLimits limits, int depth)
    {
        limits.Add(depth + 1);
        var result = new JsonObject();
        foreach (var property in shell.Properties)
        {
            if (property.Value is { } value)
            {
                result[property.Name] = Node(value, limits, depth + 1);
            }
            else if (property.MemberType == PSMemberTypes.NoteProperty)
            {
                result[property.Name] = null;
            }
        }

        return result;
    }

    // A plain hashtable has no order of its own: by name, so that the same input gives the same command.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static (string Key, object? Value)[] Entries(IDictionary map)
    {
        var entries = new (string Key, object? Value)[map.Count];
        var at = 0;
        foreach (DictionaryEntry entry in map)
        {
            entries[at++] = (entry.Key.ToString()!, entry.Value);
        }

        if (map is Hashtable && at > 1)
        {
            Array.Sort(entries, static (a, b) => string.CompareOrdinal(a.Key, b.Key));
        }

        return entries;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static JsonNode? Node(object? value, TreeLimits limits, int depth)
    {
        limits.Add(depth);
        var inner = Base(value);
        return inner switch
        {
            string text => JsonValue.Create(text),
            int number => JsonValue.Create(number),
            IDictionary map => Map(map, limits, depth),
            SwitchParameter flag => JsonValue.Create(flag.IsPresent),
            PSObject shell => Map(shell, limits, depth),
            JsonNode => LaunchConfig.ToNode(inner),
            IEnumerable list => Nodes(list, limits, depth),
            _ => LaunchConfig.ToNode(inner, limits, depth),
        };
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static JsonArray Nodes(IEnumerable list, TreeLimits limits, int depth)
    {
        limits.Add(depth + 1);
        var nodes = new JsonArray();
        foreach (var value in list)
        {
            nodes.Add(Node(value, limits, depth + 1));
        }

        return nodes;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static object? Base(object? value) =>
        value is PSObject shell && shell.BaseObject is not PSCustomObject ? shell.BaseObject : value;
}
