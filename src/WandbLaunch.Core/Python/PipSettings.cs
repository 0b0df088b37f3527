namespace WandbLaunch.Python;

/// <summary>Where pip finds packages on this machine. Reaches pip through its environment while it installs, and nothing else.</summary>
internal sealed record PipSettings
{
    internal string? IndexUrl { get; init; }
    internal IReadOnlyList<string> ExtraIndexUrls { get; init; } = [];
    internal IReadOnlyList<string> TrustedHosts { get; init; } = [];
    internal IReadOnlyList<string> FindLinks { get; init; } = [];
    internal string? ConfigFile { get; init; }
    internal bool NoIndex { get; init; }

    /// <summary>The variables for pip; folders are named as they are seen where pip runs.</summary>
    internal Dictionary<string, string> Environment(string? configFile, IEnumerable<string> findLinks)
    {
        var variables = new Dictionary<string, string>
        {
            ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1",
            ["PIP_NO_INPUT"] = "1",
            ["PIP_PROGRESS_BAR"] = "off",
        };
        Set("PIP_INDEX_URL", IndexUrl);
        Set("PIP_EXTRA_INDEX_URL", string.Join(' ', ExtraIndexUrls));
        Set("PIP_TRUSTED_HOST", string.Join(' ', TrustedHosts));
        Set("PIP_FIND_LINKS", string.Join(' ', findLinks));
        Set("PIP_CONFIG_FILE", configFile);
        Set("PIP_NO_INDEX", NoIndex ? "1" : null);
        return variables;

        void Set(string name, string? value)
        {
            if (!string.IsNullOrEmpty(value))
            {
                variables[name] = value;
            }
        }
    }

    /// <summary>W&amp;B's bootstrap (protocol E.2): a frozen list is installed without dependencies, and what fails is left out and named.</summary>
    internal const string Bootstrap = """
        import json, subprocess, sys
        path, frozen = sys.argv[1], sys.argv[2] == "frozen"
        pip = [sys.executable, "-m", "pip", "install", "--no-cache-dir"]
        if not frozen:
            sys.exit(subprocess.call(pip + ["-r", path]))
        lines = [l.strip() for l in open(path, encoding="utf-8") if l.strip()]
        options = [w for l in lines if l.startswith("-") for w in l.split(None, 1)]
        wanted = [l for l in lines if not l.startswith("-")]
        if subprocess.call(pip + ["--no-deps", "-r", path]) == 0:
            sys.exit(0)
        failed = [w for w in wanted if subprocess.call(pip + ["--no-deps", "--retries", "1"] + options + [w.split(" --hash")[0]]) != 0]
        if failed:
            print("ERROR: Failed to install: " + " ".join(failed) + ". During automated build process.", flush=True)
        sys.exit(3 if wanted and len(failed) == len(wanted) else 0)
        """;
}
