"""Buildbot's names and modules, as facts: what is not there yet is refused by name, and typing errors are seen.

Only tables live here. What the names lead to is in `names.py`, the import name `buildbot` in `alias.py`.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KNOWN: dict[str, frozenset[str]] = {
    "changes": _words(
        """
        BitbucketPullrequestPoller BzrLaunchpadEmailMaildirSource CVSMaildirSource GerritChangeSource
        GerritEventLogPoller GitHubPullrequestPoller GitPoller HgPoller MaildirSource P4Source PBChangeSource
        SVNCommitEmailMaildirSource SVNPoller
        """
    ),
    "reporters": _words(
        """
        BitbucketServerCoreAPIStatusPush BitbucketServerPRCommentPush BitbucketServerStatusPush
        BitbucketStatusPush BuildRequestGenerator BuildSetCombinedStatusGenerator BuildSetStatusGenerator
        BuildStartEndStatusGenerator BuildStatusGenerator GerritStatusPush GerritVerifyStatusPush
        GitHubCommentPush GitHubStatusPush GitLabStatusPush HttpStatusPush IRC MailNotifier MessageFormatter
        MessageFormatterEmpty MessageFormatterFunction MessageFormatterFunctionRaw MessageFormatterMissingWorker
        MessageFormatterRenderable PushjetNotifier PushoverNotifier TelegramBot WorkerMissingGenerator
        ZulipStatusPush Prometheus
        """
    ),
    "schedulers": _words(
        """
        AnyBranchScheduler Dependent ForceScheduler Nightly NightlyTriggerable Periodic SingleBranchScheduler
        Triggerable Try_Jobdir Try_Userpass
        """
    ),
    "secrets": _words(
        """
        HashiCorpVaultKvSecretProvider SecretInAFile SecretInPass VaultAuthenticatorApprole
        VaultAuthenticatorToken
        """
    ),
    "steps": _words(
        """
        Assert BuildEPYDoc BuildStep Bzr CMake CVS Compile Configure CopyDirectory Cppcheck DELETE Darcs
        DebCowbuilder DebLintian DebPbuilder DirectoryUpload FileDownload FileExists FileUpload GET Gerrit Git
        GitCommit GitDiffInfo GitHub GitLab GitPush GitTag HEAD HLint HTTPStep JSONPropertiesDownload
        JSONStringDownload LogRenderable MakeDirectory MasterShellCommand MaxQ Mercurial Mock MockBuildSRPM
        MockRebuild Monotone MTR MsBuild MsBuild12 MsBuild14 MsBuild141 MsBuild15 MsBuild16 MsBuild17 MsBuild4
        MultipleFileUpload OPTIONS P4 POST PUT PerlModuleTest PyFlakes PyLint RemoveDirectory RemovePYCs Repo
        Robocopy RpmBuild RpmLint SVN SetProperties SetPropertiesFromEnv SetProperty SetPropertyFromCommand
        ShellCommand ShellSequence Sphinx StringDownload SubunitShellCommand Test TreeSize Trial Trigger
        UbuCowbuilder UbuPbuilder VC10 VC11 VC12 VC14 VC141 VC6 VC7 VC8 VC9 VCExpress9 VS2003 VS2005 VS2008
        VS2010 VS2012 VS2013 VS2015 VS2017 VS2019 VS2022 WarningCountingShellCommand
        """
    ),
    "util": _words(
        """
        AnyControlEndpointMatcher AnyEndpointMatcher AnyPropertyParameter AuthorizedKeysManhole Authz
        AvatarGitHub AvatarGravatar BasicBuildFactory BasicSVN BitbucketAuth BooleanParameter BuildFactory
        BuilderConfig CANCELLED CPAN ChangeFilter ChoiceStringParameter Codebase CodebaseParameter
        CommandlineUserManager Connection CustomAuth DbConfig Distutils EXCEPTION EnableSchedulerEndpointMatcher
        EqConnectionPool FAILURE FailingBuildsetCanceller FileParameter FixedParameter FlattenList
        ForceBuildEndpointMatcher GNUAutoconf GerritChangeFilter GitCredentialInputRenderer GitCredentialOptions
        GitHubAuth GitLabAuth GoogleAuth HTPasswdAuth InheritBuildParameter IntParameter Interpolate
        JanitorConfigurator KubeCtlProxyConfigLoader KubeHardcodedConfig KubeInClusterConfigLoader LdapUserInfo
        LockAccess LogLineObserver MasterLock NestedParameter OldBuildCanceller ParameterGroup PasswordManhole
        PatchParameter Project Property QuickBuildFactory RETRY RebuildBuildEndpointMatcher RemoteUserAuth
        Results RevlinkMatch RolesFromDomain RolesFromEmails RolesFromGroups RolesFromOwner RolesFromUsername
        SKIPPED SUCCESS Secret ShellArg SlaveLock SourceStampFilter StopBuildEndpointMatcher StringParameter
        TelnetManhole TextParameter Transform Trial URLForBuild UserNameParameter UserPasswordAuth WARNINGS
        WithProperties WorkerChoiceParameter WorkerLock enforceChosenWorker fnmatchStrMatcher reStrMatcher
        renderer repo svn
        """
    ),
    "worker": _words(
        """
        DockerLatentWorker EC2LatentWorker KubeLatentWorker LibVirtWorker LocalWorker OpenStackLatentWorker
        Worker
        """
    ),
    "www": _words(
        """

        """
    ),
}
"""What `from buildbot.plugins import X` gives in Buildbot 4.3, its predecessors and well-known plugins, for each X."""

DEEP: frozenset[str] = _words(
    """
    AbsoluteSourceStampsMixin AbstractBuildSlave AbstractLatentWorker AbstractWorker BaseBasicScheduler BaseLock
    BaseLockId BaseParameter BaseScheduler BufferLogObserver BuildStepCancelled BuildStepFailed BuildStepStatus
    BuildStepWrapperMixin CallableAttributeError Change ChangeManager ChangeSource CollectedValidationError
    CommandMixin ComparableMixin CompositeStepMixin ConfigErrors ConfigurableBuildFactory DownloadSecretsToWorker
    GerritChangeSourceBase GitError JobdirService LineConsumerLogObserver Log LogObserver LoggedRemoteCommand
    LoggingBuildStep MSLogLineObserver MasterConfig MaxQObserver MockStateObserver MultipleResults NightlyBase
    NotABranch OutputProgressObserver P4PollerError PerlModuleTestObserver PollingChangeSource Properties
    PropertiesMixin RC_SUCCESS RealMasterLock RealWorkerLock ReconfigurableBaseScheduler
    ReconfigurablePollingChangeSource RemoteException RemoteCommand RemoteShellCommand RemoveWorkerFileSecret
    RenderableOperatorsMixin RepoDownloadsFromChangeSource RepoDownloadsFromProperties
    ResultComputingConfigMixin Scheduler SecretDetails SecretProviderBase ShellMixin SlaveBuildStep Source
    SubunitLogObserver TestCase Timed TrialTestCaseCounter TryBase UNSPECIFIED ValidationError
    ValidationErrorCollector VisualStudio WEObserver WorkerBuildStep asyncSleep closeSession command_to_string
    computeResultAndTermination datetime2epoch deferredLocked dictionary_merge diffSets epoch2datetime
    flattened_iterator formatInterval fuzzyInterval getSession get_simple_split human_readable_delta
    isTrueOrIsExactlyZero join_list link_urls makeList makeStatusRemoteCommand naturalSort none_or_str now
    oneCodebase rewrap setSession split_file_alwaystrunk split_file_branches split_file_projects_branches
    string2boolean stripUrlPassword toJson
    """
)
"""What is imported from the modules below `buildbot` beside these, of those modules that have something here."""

MODULES: frozenset[str] = _words(
    """
    buildbot_net_usage_data buildrequest buildslave changes changes.base changes.bitbucket changes.changes
    changes.filter changes.gerritchangesource changes.github changes.gitpoller changes.hgpoller changes.mail
    changes.manager changes.p4poller changes.pb changes.svnpoller clients clients.sendchange clients.tryclient
    clients.usersclient config config.builder config.checks config.errors config.master configurators
    configurators.janitor data data.resultspec db db.base db.build_data db.builders db.buildrequests db.builds
    db.buildsets db.changes db.changesources db.codebase_branches db.codebase_commits db.codebases
    db.compression db.compression.brotli db.compression.lz4 db.compression.native db.compression.protocol
    db.compression.zstd db.connector db.dbconfig db.enginestrategy db.exceptions db.logs db.masters
    db.migrate_utils db.model db.model_config db.pool db.projects db.schedulers db.sourcestamps db.state
    db.steps db.tags db.test_result_sets db.test_results db.types db.types.json db.users db.workers errors
    interfaces locks machine machine.base machine.generic machine.latent machine.manager manhole master mq
    mq.base mq.connector mq.simple mq.wamp pbutil plugins plugins.db process process.base process.botmaster
    process.build process.builder process.buildrequest process.buildrequestdistributor process.buildstep
    process.cache process.codebase process.debug process.factory process.lock process.locks process.log
    process.logobserver process.measured_service process.metrics process.project process.properties
    process.remotecommand process.remotetransfer process.results process.slavebuilder process.step
    process.subunitlogobserver process.users process.users.manager process.users.manual process.users.users
    process.workerforbuilder reporters reporters.base reporters.bitbucket reporters.bitbucketserver
    reporters.generators reporters.generators.build reporters.generators.buildrequest
    reporters.generators.buildset reporters.generators.utils reporters.generators.worker reporters.gerrit
    reporters.gerrit_verify_status reporters.github reporters.gitlab reporters.http reporters.irc reporters.mail
    reporters.message reporters.pushjet reporters.pushover reporters.telegram reporters.utils reporters.words
    reporters.zulip revlinks scheduler schedulers schedulers.base schedulers.basic schedulers.canceller
    schedulers.canceller_buildset schedulers.dependent schedulers.filter schedulers.forcesched
    schedulers.manager schedulers.timed schedulers.triggerable schedulers.trysched secrets secrets.manager
    secrets.providers secrets.providers.base secrets.providers.file secrets.providers.passwordstore
    secrets.providers.vault_hvac secrets.secret sourcestamp statistics statistics.capture
    statistics.stats_service statistics.storage_backends statistics.storage_backends.base
    statistics.storage_backends.influxdb_client status status.builder status.html status.mail status.results
    status.web status.words steps steps.cmake steps.configurable steps.cppcheck steps.download_secret_to_worker
    steps.gitdiffinfo steps.http steps.master steps.maxq steps.mswin steps.mtrlogobserver steps.package
    steps.package.deb steps.package.deb.lintian steps.package.deb.pbuilder steps.package.rpm
    steps.package.rpm.mock steps.package.rpm.rpmbuild steps.package.rpm.rpmlint steps.package.util steps.python
    steps.python_twisted steps.shell steps.shellsequence steps.slave steps.source steps.source.base
    steps.source.bzr steps.source.cvs steps.source.darcs steps.source.gerrit steps.source.git
    steps.source.github steps.source.gitlab steps.source.mercurial steps.source.mtn steps.source.oldsource
    steps.source.p4 steps.source.repo steps.source.svn steps.subunit steps.transfer steps.trigger steps.vstudio
    steps.worker util util.async_sort util.backoff util.bbcollections util.codebase util.config util.debounce
    util.deferwaiter util.eventual util.git util.git_credential util.giturlparse util.httpclientservice
    util.identifiers util.importlib_compat util.logger util.kubeclientservice util.latent util.lineboundaries util.lru
    util.maildir util.misc util.netstrings util.path_expand_user util.pathmatch util.poll util.private_tempdir
    util.protocol util.pullrequest util.queue util.raml util.render_description util.runprocess util.sautils
    util.service util.ssfilter util.ssl util.state util.subscription util.test_result_submitter util.tuplematch
    util.twisted util.watchdog version warnings worker worker.base worker.docker worker.ec2 worker.kubernetes
    worker.latent worker.libvirt worker.local worker.manager worker.marathon worker.openstack worker.protocols
    worker.protocols.base worker.protocols.manager worker.protocols.manager.base
    worker.protocols.manager.msgpack worker.protocols.manager.pb worker.protocols.msgpack worker.protocols.null
    worker.protocols.pb worker.upcloud www www.auth www.authz www.authz.authz www.authz.endpointmatchers
    www.authz.roles www.avatar www.change_hook www.config www.encoding www.hooks www.hooks.base
    www.hooks.bitbucket www.hooks.bitbucketcloud www.hooks.bitbucketserver www.hooks.github www.hooks.gitlab
    www.hooks.gitorious www.hooks.poller www.ldapuserinfo www.oauth2 www.plugin www.resource www.rest
    www.service www.sse www.ws
    """
)
"""The modules below `buildbot`, of 4.3 and of its predecessors."""
